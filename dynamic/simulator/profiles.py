"""Loads that are simulated, by name: rates that 50 workers of 100 ms can follow.

The first ones have one idea each. The families are random, with the structure of real loads: each seed is
another trace. Constants of policies are chosen on TRAINING, with seeds from 1 on, and judged on the rest.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from lab.load.profiles import PROFILES, Profile, noisy, ramp, sine, spike, steady, step

LOW, HIGH = 20.0, 150.0
"""Messages per second."""
MOST = 420.0
"""What 50 workers of 100 ms can follow with some room."""
SECONDS = 600.0
PART_SECONDS = 2.5
"""The rates of a family change so often, at most."""

Maker = Callable[[int], Profile]


def daily(seed: int) -> Profile:
    """Return two days in ten minutes: a morning and an evening peak, a quiet night, some noise."""
    draw = random.Random(f"daily {seed}")
    peak, second = draw.uniform(120, 200), draw.uniform(0.5, 0.9)

    def rate(time: float) -> float:
        hour = (24 * time / (SECONDS / 2)) % 24
        shape = math.exp(-(((hour - 11) / 2.5) ** 2)) + second * math.exp(-(((hour - 19) / 3.0) ** 2))
        return (8 + peak * shape) * draw.lognormvariate(0, 0.1)

    return _family("daily", f"two days with two peaks of about {peak:.0f}/s", seed, rate)


def bursty(seed: int) -> Profile:
    """Return a quiet load with sudden bursts of different heights and lengths."""
    draw = random.Random(f"bursty {seed}")
    base, end, height = draw.uniform(20, 50), 0.0, 0.0
    begin = draw.expovariate(1 / 30)

    def rate(time: float) -> float:
        nonlocal begin, end, height
        if time >= begin:
            end, height = time + 3 + draw.expovariate(1 / 10), draw.uniform(60, 300)
            begin = end + draw.expovariate(1 / 30)
        return base + (height if time < end else 0.0)

    return _family("bursty", f"{base:.0f}/s with sudden bursts up to {base + 300:.0f}/s", seed, rate)


def sessions(seed: int) -> Profile:
    """Return users who come at random and stay for heavy-tailed times, each at a pace of his own."""
    draw = random.Random(f"sessions {seed}")
    users: list[tuple[float, float]] = [(draw.uniform(0, 100), 5.0) for _ in range(8)]

    def rate(time: float) -> float:
        users[:] = [one for one in users if one[0] > time]
        for _ in range(_poisson(draw, 0.35 * PART_SECONDS)):
            stay = min(300.0, 4.0 * draw.paretovariate(1.3))
            users.append((time + stay, draw.lognormvariate(1.6, 0.9)))
        return 1 + sum(pace for _, pace in users)

    return _family("sessions", "users who stay for heavy-tailed times", seed, rate)


def launch(seed: int) -> Profile:
    """Return a launch: a jump to many times the load, and a slow decay to a new level."""
    draw = random.Random(f"launch {seed}")
    before, jump, after = draw.uniform(10, 30), draw.uniform(180, 350), draw.uniform(40, 80)
    at, decay = draw.uniform(90, 150), draw.uniform(50, 120)

    def rate(time: float) -> float:
        level = before if time < at else after + (jump - after) * math.exp(-(time - at) / decay)
        return level * draw.lognormvariate(0, 0.12)

    return _family("launch", f"{before:.0f}/s, at {at:.0f} s {jump:.0f}/s, then slowly down", seed, rate)


def plateau(seed: int) -> Profile:
    """Return a level with noise that remembers: what is high stays high for some seconds."""
    draw = random.Random(f"plateau {seed}")
    level, noise = draw.uniform(60, 140), 0.0

    def rate(time: float) -> float:
        nonlocal noise
        noise = 0.8 * noise + draw.gauss(0, 0.2)
        return level * math.exp(noise)

    return _family("plateau", f"about {level:.0f}/s with noise", seed, rate)


def jumps(seed: int) -> Profile:
    """Return counts that jump from one interval of 5 s to the next, as those of small services do."""
    draw = random.Random(f"jumps {seed}")
    values = [draw.lognormvariate(math.log(60), 0.6) for _ in range(math.ceil(SECONDS / 5))]
    return _family(
        "jumps", "another rate every 5 s, log-normal around 60/s", seed, lambda time: values[int(time / 5)]
    )


FAMILIES: Mapping[str, Maker] = MappingProxyType(
    {maker.__name__: maker for maker in (daily, bursty, sessions, launch, plateau, jumps)}
)
TRAINING = ("daily", "bursty")
SIMULATED: dict[str, Maker] = {
    "steady": lambda _: steady(60.0),
    "step": lambda _: step(LOW, HIGH),
    "spike": lambda _: spike(LOW, 2 * HIGH),
    "ramp": lambda _: ramp(LOW, HIGH),
    "sine": lambda _: sine(LOW, HIGH),
    "noisy": lambda seed: noisy(LOW, HIGH, seed),
    "bursts": lambda _: PROFILES["bursts"](),
    "drift": lambda _: replace(steady(60.0), name="drift"),
    **FAMILIES,
}
"""By name, from a seed."""


def _family(name: str, what: str, seed: int, rate: Callable[[float], float]) -> Profile:
    starts = tuple(PART_SECONDS * part for part in range(math.ceil(SECONDS / PART_SECONDS)))
    rates = tuple(min(MOST, max(0.0, rate(time))) for time in starts)
    return Profile(name, f"{what}, seed {seed}", starts, rates, SECONDS)


def _poisson(draw: random.Random, mean: float) -> int:
    count, left = 0, draw.expovariate(1.0)
    while left < mean:
        count, left = count + 1, left + draw.expovariate(1.0)
    return count
