"""Arrival plans: when each request of an open loop is due. The same arguments make the same plan.

Imports numpy, which takes a tenth of a second: nodes must not import this.
"""

import json
import math
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lab.errors import Code, InvalidRequest
from lab.load.profiles import Profile, check_seconds, steady

MAX_ARRIVALS = 50_000_000
"""Of a plan, on average where they are random: 400 MB."""

Offsets: TypeAlias = NDArray[np.int64]
Expected: TypeAlias = NDArray[np.float64]
"""Numbers of arrivals expected up to some time."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Arrivals at *due_ns* after the start: ascending, two perhaps at the same time, and read-only."""

    description: str
    seed: int
    """0 where nothing is random."""
    duration_seconds: float
    """As asked for; the last arrival is earlier."""
    due_ns: Offsets

    def __post_init__(self) -> None:
        self.due_ns.setflags(write=False)

    @property
    def rate(self) -> float:
        """Offered load: planned requests per second. Near the rate asked for where arrivals are random."""
        return len(self.due_ns) / self.duration_seconds

    @classmethod
    def constant(cls, rate: float, seconds: float) -> Self:
        """Return arrivals 1 / *rate* apart, the first at once."""
        _check(rate, seconds)
        due_ns = _at(steady(rate, seconds), _evenly(rate * seconds))
        return cls(f"constant, {rate:g}/s for {seconds:g} s", 0, seconds, due_ns)

    @classmethod
    def poisson(cls, rate: float, seconds: float, seed: int) -> Self:
        """Return the arrivals of many independent clients: exponential gaps of 1 / *rate* on average."""
        _check(rate, seconds)
        due_ns = _at(steady(rate, seconds), _randomly(rate * seconds, seed))
        return cls(f"Poisson, {rate:g}/s for {seconds:g} s, seed {seed}", seed, seconds, due_ns)

    @classmethod
    def following(cls, profile: Profile, seconds: float, seed: int, poisson: bool = True) -> Self:
        """Return arrivals whose rate at any time is the *profile*'s, for its first *seconds*."""
        check_seconds(seconds)
        if seconds > profile.duration_seconds:
            message = f"the profile {profile.name} lasts {profile.duration_seconds:g} s, not {seconds:g} s"
            raise InvalidRequest(Code.MALFORMED, f"{message}; make it with more seconds")
        part = profile.until(seconds)
        expected = part.mean_rate * seconds
        _check(part.mean_rate, seconds)
        due_ns = _at(part, _randomly(expected, seed) if poisson else _evenly(expected))
        how = f"Poisson, seed {seed}" if poisson else "evenly"
        text = f"{profile.name} ({profile.description}) for {seconds:g} s, {how}"
        return cls(text, seed if poisson else 0, seconds, due_ns)

    def save(self, path: Path) -> None:
        """Write the plan to *path*, an .npz file: numpy reads what a window was planned to be."""
        about = {"description": self.description, "seed": self.seed, "seconds": self.duration_seconds}
        try:
            with path.open("wb") as file:  # given a name, numpy would add an ending to it
                np.savez(file, about=np.array(json.dumps(about)), due_ns=self.due_ns)
        except OSError as error:
            message = f"{path}: cannot be written: {error.strerror}"
            raise InvalidRequest(Code.MALFORMED, message) from error


def _check(rate: float, seconds: float) -> None:
    check_seconds(seconds)
    if not 0 < rate < math.inf:
        raise InvalidRequest(Code.MALFORMED, f"a rate must be above 0 and finite, got {rate:g}")
    if rate * seconds > MAX_ARRIVALS:
        message = (
            f"{rate:g}/s for {seconds:g} s are more than {MAX_ARRIVALS:,} arrivals; plan a part at a time"
        )
        raise InvalidRequest(Code.MALFORMED, message)


def _evenly(expected: float) -> Expected:
    """Return 0, 1, 2 ... below *expected*: an arrival whenever another one is expected to have come."""
    return np.arange(max(1, math.ceil(round(expected, 6))), dtype=np.float64)


def _randomly(expected: float, seed: int) -> Expected:
    """Return a Poisson process of rate 1 up to *expected*: sums of exponential gaps."""
    try:
        draw = np.random.default_rng(seed)
    except (ValueError, TypeError) as error:
        raise InvalidRequest(
            Code.MALFORMED, f"a seed must be a whole number from 0 on, got {seed}"
        ) from error
    enough = int(expected + 6 * math.sqrt(expected)) + 10
    sums = draw.standard_exponential(enough).cumsum()
    while sums[-1] < expected:
        sums = np.concatenate([sums, sums[-1] + draw.standard_exponential(enough).cumsum()])
    return sums[: np.searchsorted(sums, expected)]


def _at(profile: Profile, expected: Expected) -> Offsets:
    """Return when, by *profile*, each of the *expected* numbers of arrivals is reached; they are overwritten.

    A Poisson process of any rate is one of rate 1 whose time runs at that rate (time rescaling).
    """
    parts = [part for part in profile.parts() if part[2] > 0]
    reached = list(accumulate(((end - start) * rate for start, end, rate in parts), initial=0.0))
    cuts = [*np.searchsorted(expected, reached[:-1]).tolist(), len(expected)]
    for (start, end, rate), before, (low, high) in zip(parts, reached, pairwise(cuts), strict=False):
        times = expected[low:high]
        times -= before
        times /= rate
        times += start
        np.minimum(times, end, out=times)  # against rounding
    expected *= 1e9
    last_ns = max(0, math.ceil(profile.duration_seconds * 1e9) - 1)
    return np.minimum(np.rint(expected, out=expected), last_ns, out=expected).astype(np.int64)
