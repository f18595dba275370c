"""Loads that are simulated, by name: rates that 50 workers of 100 ms can follow."""

from collections.abc import Callable
from dataclasses import replace

from lab.load.profiles import PROFILES, Profile, noisy, ramp, sine, spike, steady, step

LOW, HIGH = 20.0, 150.0
"""Messages per second: what 50 workers of 100 ms can follow."""
SIMULATED: dict[str, Callable[[int], Profile]] = {
    "steady": lambda _: steady(60.0),
    "step": lambda _: step(LOW, HIGH),
    "spike": lambda _: spike(LOW, 2 * HIGH),
    "ramp": lambda _: ramp(LOW, HIGH),
    "sine": lambda _: sine(LOW, HIGH),
    "noisy": lambda seed: noisy(LOW, HIGH, seed),
    "bursts": lambda _: PROFILES["bursts"](),
    "drift": lambda _: replace(steady(60.0), name="drift"),
}
"""By name, from a seed."""
