"""What policies are judged by: the loads that they are given, by name, and the scores that they get.

The first loads have one idea each: rates that 50 workers of 100 ms can follow. The families are random, with
the structure of real loads: each seed is another trace. Constants of policies are chosen on TRAINING, with
seeds from 1 on, and judged on the rest. Scores tell about late events, what the workers cost, and how calmly
they were scaled.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

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


REVERSAL_SECONDS = 10.0

Numbers = NDArray[np.float64]


class Steps(NamedTuple):
    """A number of workers that is constant from each of *times* (seconds, ascending) to the next."""

    times: Numbers
    values: Numbers

    @classmethod
    def summed(cls, changes: Sequence[tuple[float, int]]) -> Self:
        """Add up *changes*, times and by how many, those of the same time in one step."""
        order = sorted(changes)
        times, first = np.unique(np.array([time for time, _ in order]), return_index=True)
        sums = np.add.reduceat(np.array([change for _, change in order], float), first)
        return cls(times, sums.cumsum())

    def at(self, times: Numbers) -> Numbers:
        """Return the numbers at *times*; 0 before the first."""
        index = np.searchsorted(self.times, times, side="right")
        return np.concatenate([[0.0], self.values])[index]

    def area(self, until: float) -> float:
        """Return worker-seconds from 0 s to *until*."""
        edges = _edges(until, self.times)
        return float(self.at(edges[:-1]) @ np.diff(edges))


@dataclass(frozen=True, slots=True)
class Scores:
    """Over all events of a profile, and over its duration."""

    events: int
    late_percent: float
    """Events whose response time was longer than the objective, or that were never finished."""
    p99_seconds: float
    """Of the response time."""
    worker_seconds: float
    """From the wish for a worker until it has left."""
    starts: int
    """Workers started by decisions: those that are there at the beginning do not count."""
    cost: float
    """Worker-seconds, and the price of the starts."""
    over_optimum: float | None
    """Cost over the lower bound of the optimum's: see `dynamic.simulator.optimum`. None: not computed."""
    under_area: float
    """Worker-seconds that were missing to what the rate needed."""
    under_percent: float
    """Of the time."""
    over_area: float
    over_percent: float
    actions: int
    """Decisions for another number of workers than before."""
    reversals: int
    """Actions in the other direction than the action before, within 10 s of it."""
    reaction_seconds: float | None
    """From the largest rise of the need until as many workers are ready; None: never, or no rise."""
    settling_seconds: float | None
    """From the largest rise of the need until the workers stay, while the need does, from what is needed up
    to half more or two more."""
    lost: int
    """Arrivals neither finished nor still waiting."""


def reversals(actions: Sequence[tuple[float, int]]) -> int:
    """Count the *actions*, times and changes, against the one before within 10 s."""
    return sum(
        then - now <= REVERSAL_SECONDS and up * down < 0 for (now, up), (then, down) in pairwise(actions)
    )


def provisioning(supply: Steps, need: Steps, duration: float) -> tuple[float, float, float, float]:
    """Return missing worker-seconds, their share of the time in percent, and the same of those too many."""
    edges = _edges(duration, supply.times, need.times)
    spans = np.diff(edges)
    spare = supply.at(edges[:-1]) - need.at(edges[:-1])
    return (
        float(np.maximum(-spare, 0) @ spans),
        float(100 * spans[spare < 0].sum() / duration),
        float(np.maximum(spare, 0) @ spans),
        float(100 * spans[spare > 0].sum() / duration),
    )


def reaction_and_settling(supply: Steps, need: Steps, duration: float) -> tuple[float | None, float | None]:
    """Return how long after the largest rise of *need* the *supply* was enough, and stayed near it."""
    rises = np.diff(need.values)
    if not len(rises) or rises.max() <= 0:
        return None, None
    rise = int(rises.argmax()) + 1
    begin, level = float(need.times[rise]), float(need.values[rise])
    others = np.flatnonzero(need.values[rise:] != level)
    end = float(need.times[rise + others[0]]) if len(others) else duration
    times = np.concatenate([[begin], supply.times[(supply.times > begin) & (supply.times < end)]])
    ready = supply.at(times)
    enough = np.flatnonzero(ready >= level)
    is_near = (ready >= level) & (ready <= max(1.5 * level, level + 2))
    if not is_near[-1]:
        return (float(times[enough[0]]) - begin if len(enough) else None), None
    away = np.flatnonzero(~is_near)
    settled = float(times[away[-1] + 1]) - begin if len(away) else 0.0
    return float(times[enough[0]]) - begin, settled


def _edges(until: float, *times: Numbers) -> Numbers:
    edges = np.unique(np.concatenate([[0.0, until], *times]))
    return edges[(edges >= 0) & (edges <= until)]


SCORES: dict[str, Callable[[Scores], str]] = {
    "late, %": lambda one: f"{one.late_percent:.2f}",
    "p99, s": lambda one: f"{one.p99_seconds:.2f}",
    "worker-seconds": lambda one: f"{one.worker_seconds:,.0f}",
    "starts": lambda one: str(one.starts),
    "cost over the optimum's": lambda one: "-" if one.over_optimum is None else f"{one.over_optimum:.2f}",
    "missing worker-seconds": lambda one: f"{one.under_area:,.0f} ({one.under_percent:.0f} % of the time)",
    "spare worker-seconds": lambda one: f"{one.over_area:,.0f} ({one.over_percent:.0f} % of the time)",
    "actions": lambda one: str(one.actions),
    "reversals within 10 s": lambda one: str(one.reversals),
    "reaction, s": lambda one: _seconds(one.reaction_seconds),
    "settling, s": lambda one: _seconds(one.settling_seconds),
    "lost": lambda one: str(one.lost),
}
"""What tables show: heading and cell."""


def score_table(title: str, scores: Sequence[tuple[str, Scores]]) -> Table:
    """Return the scores of policies, a column each."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for policy, _ in scores:
        table.add_column(policy, justify="right")
    for heading, cell in SCORES.items():
        table.add_row(heading, *(cell(one) for _, one in scores))
    return table


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"
