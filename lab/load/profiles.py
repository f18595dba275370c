"""Load profiles: rates of requests that change with time. Without numpy, since publishers import it."""

import csv
import math
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from lab.errors import Code, InvalidRequest

PUBLISHER_RATE = 285.0
"""Requests per second of one publisher of the classic run; the other profiles move between one and three."""
LOW = PUBLISHER_RATE
HIGH = 3 * PUBLISHER_RATE
SECONDS = 120.0
MAX_SECONDS = 366 * 86_400.0
MAX_RATE = 1e9
MAX_CHANGES = 1_000_000
RAMP_PARTS = 240
SINE_PARTS = 48
"""Of one period."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A rate that is constant from each of *starts* (seconds, the first 0) to the next one, or to the end.

    InvalidRequest for what cannot be: the makers below leave most checks of their arguments to it.
    """

    name: str
    description: str
    """Rates and seed in words, for who reads a result."""
    starts: tuple[float, ...]
    rates: tuple[float, ...]
    """Requests per second."""
    duration_seconds: float

    def __post_init__(self) -> None:
        check_seconds(self.duration_seconds)
        edges = (*self.starts, self.duration_seconds)
        is_ascending = all(now < then for now, then in pairwise(edges))
        if not is_ascending or self.starts[:1] != (0.0,) or len(self.starts) != len(self.rates):
            message = "a profile begins at 0 s and its changes come one after the other, before its end"
            raise InvalidRequest(Code.MALFORMED, f"{message} at {self.duration_seconds:g} s ({self.name})")
        if not all(0 <= rate <= MAX_RATE for rate in self.rates) or not any(self.rates):
            message = f"rates of a profile must be from 0 to {MAX_RATE:.0f} per second, and not all of them 0"
            raise InvalidRequest(Code.MALFORMED, f"{message} ({self.name}: {self.description})")

    @property
    def mean_rate(self) -> float:
        """Requests per second over the whole profile."""
        return math.fsum((end - start) * rate for start, end, rate in self.parts()) / self.duration_seconds

    def parts(self) -> Iterator[tuple[float, float, float]]:
        """Yield start and end, in seconds, and the rate between them."""
        return zip(self.starts, (*self.starts[1:], self.duration_seconds), self.rates, strict=True)

    def rate_at(self, seconds: float) -> float:
        """Return the rate at *seconds* from the start; 0 before it, from the end on, and for NaN."""
        if not 0 <= seconds < self.duration_seconds:
            return 0.0
        return self.rates[bisect_right(self.starts, seconds) - 1]

    def until(self, seconds: float) -> "Profile":
        """Return the first *seconds*; the whole profile if it has no more."""
        check_seconds(seconds)
        parts = [(start, rate) for start, _, rate in self.parts() if start < seconds]
        starts, rates = (tuple(column) for column in zip(*parts, strict=True))
        return replace(self, starts=starts, rates=rates, duration_seconds=min(seconds, self.duration_seconds))

    def lasting(self, seconds: float) -> "Profile":
        """Return the whole shape in *seconds*, with the same rates: every change comes, sooner or later."""
        check_seconds(seconds)
        if seconds == self.duration_seconds:
            return self
        factor = seconds / self.duration_seconds
        description = f"{self.description}; all of it in {seconds:g} s"
        starts = tuple(start * factor for start in self.starts)
        return replace(self, description=description, starts=starts, duration_seconds=seconds)


def check_seconds(seconds: float) -> None:
    """Refuse a duration that is not above 0 and at most a year."""
    if not 0 < seconds <= MAX_SECONDS:
        message = f"a duration must be above 0 and at most {MAX_SECONDS:.0f} s, got {seconds:g}"
        raise InvalidRequest(Code.MALFORMED, message)


def steady(rate: float = LOW, seconds: float = SECONDS) -> Profile:
    """Return *rate* all the time: 285/s for 120 s."""
    return Profile("steady", f"{rate:g}/s", (0.0,), (rate,), seconds)


def step(low: float = LOW, high: float = HIGH, at: float = 40.0, seconds: float = SECONDS) -> Profile:
    """Return *low* and, from *at* seconds on, *high*: 285/s, after 40 s 855/s, for 120 s."""
    description = f"{low:g}/s, from {at:g} s on {high:g}/s"
    return Profile("step", description, (0.0, at), (low, high), seconds)


def spike(
    low: float = LOW, high: float = HIGH, at: float = 40.0, width: float = 10.0, seconds: float = SECONDS
) -> Profile:
    """Return *low*, but *high* for *width* seconds: 285/s, from 40 to 50 s 855/s, for 120 s."""
    description = f"{low:g}/s, from {at:g} to {at + width:g} s {high:g}/s"
    return Profile("spike", description, (0.0, at, at + width), (low, high, low), seconds)


def ramp(low: float = LOW, high: float = HIGH, seconds: float = SECONDS) -> Profile:
    """Return a rate that goes evenly, in 240 small steps, from *low* to *high*: 285/s to 855/s in 120 s."""
    check_seconds(seconds)
    _check_levels(low, high)
    middles = ((part + 0.5) / RAMP_PARTS for part in range(RAMP_PARTS))
    rates = tuple(low + (high - low) * middle for middle in middles)
    description = f"{low:g}/s going evenly to {high:g}/s"
    return Profile("ramp", description, _every(seconds / RAMP_PARTS, RAMP_PARTS), rates, seconds)


def sine(low: float = LOW, high: float = HIGH, period: float = 60.0, seconds: float = SECONDS) -> Profile:
    """Return a rate that swings, in 48 steps a period: 285/s to 855/s and back every 60 s, for 120 s."""
    _check_levels(low, high)
    parts = _parts(seconds, period / SINE_PARTS)
    turns = ((part + 0.5) / SINE_PARTS for part in range(parts))
    rates = tuple(low + (high - low) * (1 - math.cos(2 * math.pi * turn)) / 2 for turn in turns)
    description = f"{low:g}/s to {high:g}/s and back every {period:g} s"
    return Profile("sine", description, _every(period / SINE_PARTS, parts), rates, seconds)


def noisy(
    low: float = LOW, high: float = HIGH, seed: int = 1, hold: float = 4.0, seconds: float = 2 * SECONDS
) -> Profile:
    """Return random rates, a new one every *hold* seconds: 285/s to 855/s every 4 s, seed 1, for 240 s."""
    _check_levels(low, high)
    draw, parts = random.Random(seed), _parts(seconds, hold)
    rates = tuple(draw.uniform(low, high) for _ in range(parts))
    description = f"random, {low:g}/s to {high:g}/s, another every {hold:g} s, seed {seed}"
    return Profile("noisy", description, _every(hold, parts), rates, seconds)


def bursts(rate: float = PUBLISHER_RATE) -> Profile:
    """Return the classic 60 s: publishers of *rate*, 285/s, come and go. None sends from 41 to 51 s.

    They join at 1, 7, 11, 31 and 51 s and leave in pairs at 21 and 41 s.
    """
    starts = (0.0, 1.0, 7.0, 11.0, 21.0, 31.0, 41.0, 51.0)
    publishers = (0, 1, 2, 3, 1, 2, 0, 1)
    description = f"publishers of {rate:g}/s join at 1, 7, 11, 31, 51 s and leave in pairs at 21, 41 s"
    return Profile("bursts", description, starts, tuple(rate * count for count in publishers), 60.0)


def from_trace(path: Path, speed: float = 1.0, scale: float = 1.0) -> Profile:
    """Return the load that a file tells, *speed* times faster and *scale* times higher.

    The file: see :func:`lab.load.profiles.read_trace`. Faster alone sends the same requests in less time. A
    missing interval has the rate of the one before. The two weeks of ``elb_requests_5min.csv`` with speed
    10,080 and scale 0.1 last 120 s, at 208/s.
    """
    if not (0 < speed < math.inf and 0 < scale < math.inf):
        raise InvalidRequest(
            Code.MALFORMED, f"speed and scale of a trace must be above 0, got {speed:g} and {scale:g}"
        )
    trace = read_trace(path)
    factor = scale * speed / trace.interval_seconds
    return Profile(
        f"trace {path.name}",
        f"{path.name}, {speed:g} times faster, {scale:g} times higher",
        tuple(start / speed for start in trace.starts),
        tuple(requests * factor for requests in trace.requests),
        (trace.starts[-1] + trace.interval_seconds) / speed,
    )


PROFILES: Mapping[str, Callable[[], Profile]] = MappingProxyType(
    {maker.__name__: maker for maker in (steady, step, spike, ramp, sine, noisy, bursts)}
)
"""Their rates, durations and seeds, unless told otherwise, stand in their descriptions."""


def _check_levels(low: float, high: float) -> None:
    """Refuse negative levels that the rates, between the two, would not show."""
    if low < 0 or high < 0:
        message = f"the lowest and the highest rate must not be negative, got {low:g} and {high:g}"
        raise InvalidRequest(Code.MALFORMED, message)


def _parts(seconds: float, each: float) -> int:
    """Return how many parts of *each* seconds *seconds* have; the last may be shorter."""
    check_seconds(seconds)
    if not (each > 0 and seconds / each <= MAX_CHANGES):
        message = f"a profile of {seconds:g} s cannot change every {each:g} s: at most {MAX_CHANGES} changes"
        raise InvalidRequest(Code.MALFORMED, message)
    return max(1, math.ceil(round(seconds / each, 6)))  # 0.3 / 0.1 is 2.9999999999999996


def _every(seconds: float, parts: int) -> tuple[float, ...]:
    return tuple(seconds * part for part in range(parts))


HEADER = ["timestamp", "value"]


class Trace(NamedTuple):
    """How many requests came in intervals of one length that begin at *starts*, seconds from the first."""

    starts: list[float]
    requests: list[float]
    interval_seconds: float


def read_trace(path: Path) -> Trace:
    """Read a CSV file of lines such as ``2014-04-10 00:04:00,94.0`` under ``timestamp,value``.

    The commonest distance of two lines is the length of an interval. InvalidRequest, with the line, if
    the file cannot be read, is something else, or has fewer than two lines of numbers.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_rows(path, csv.reader(file)))
    except OSError as error:
        raise InvalidRequest(Code.MALFORMED, f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(Code.BAD_ENCODING, f"{path}: not UTF-8; convert it, as with iconv") from error
    except csv.Error as error:
        raise InvalidRequest(Code.MALFORMED, f"{path}: not CSV: {error}") from error
    if len(rows) < 2:
        raise InvalidRequest(Code.MALFORMED, f"{path}: a trace needs at least two lines of numbers")
    first = rows[0][0]
    starts = [(when - first).total_seconds() for when, _ in rows]
    gaps = Counter(then - now for now, then in pairwise(starts))
    return Trace(starts, [requests for _, requests in rows], gaps.most_common(1)[0][0])


def _rows(path: Path, lines: Iterator[list[str]]) -> Iterator[tuple[datetime, float]]:
    """Yield the times, ascending, and values of *lines*; blank ones are left out."""
    if next(lines, None) != HEADER:
        raise InvalidRequest(Code.MALFORMED, f"{path}: the first line must be {','.join(HEADER)}")
    last: datetime | None = None
    for number, line in enumerate(lines, 2):
        if not line:
            continue
        try:
            text, value = line
            when, requests = datetime.fromisoformat(text), float(value)
            is_good = math.isfinite(requests) and requests >= 0 and (last is None or when > last)
        except (ValueError, TypeError):  # TypeError: only one of the two times has a time zone
            is_good = False
        if not is_good:
            message = (
                f"{path}: line {number} must be a time later than the one before, and a number from 0 on"
            )
            raise InvalidRequest(Code.MALFORMED, f"{message}; got {','.join(line)[:80]!r}")
        last = when
        yield when, requests
