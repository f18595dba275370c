"""The figures of a window, from what became of every request (:mod:`harness.record.ledger`)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.record.ledger import CLOCKS, Tally
from lab.errors import Code, InvalidRequest

LOWEST_NS = 1_000
HIGHEST_NS = 60_000_000_000
CONFIDENCE = 0.975
"""Of the upper bound that a percentile must have to be shown: the upper end of a two-sided 95 % interval."""

TWO_SIDED = 1.96
"""Standard deviations on either side that hold 95 % of a normal distribution."""

Nanoseconds: TypeAlias = NDArray[np.int64]

_DROPPED_BITS = 52 - 9
"""Of a double's 52 bits of mantissa 9 tell the 512 cells apart; below them stands what is rounded away."""
_BATCH = 65_536
"""Values recorded at once: bounds the memory, and fits into the cache."""


def _cells(values: Nanoseconds) -> Nanoseconds:
    """Return the numbers of the cells of *values*, which must be from 1 to 2^53.

    The bits of a double, exponent first, are a logarithm with a linear mantissa: its highest bits are the
    number of the cell already.
    """
    return values.astype(np.float64).view(np.int64) >> _DROPPED_BITS


_FIRST_CELL, _LAST_CELL = _cells(np.array([LOWEST_NS, HIGHEST_NS], np.int64)).tolist()
CELLS = _LAST_CELL - _FIRST_CELL + 1


def samples_needed(share: float) -> int:
    """Return how many samples a percentile needs to be shown: p99 368, p99.9 3,688, p50 and below 1.

    The upper confidence bound of a percentile is one of the ordered samples, the largest at most. All n
    samples lie below the true percentile with probability share^n. The largest is thus an upper bound with a
    confidence of 1 - share^n, and with fewer than n = ln(1 - 0.975) / ln(share) samples there is none of
    97.5 %. The median and what is below it are no tail: they describe the samples at hand, and one suffices.
    """
    if not 0 < share < 1:
        raise InvalidRequest(Code.MALFORMED, f"a percentile's share must be between 0 and 1, got {share}")
    return 1 if share <= 0.5 else math.ceil(math.log(1 - CONFIDENCE) / math.log(share))


class Histogram:
    """Counts of nanoseconds. A value below 1 us or above 60 s is counted apart, never moved into the range.

    Such a value is a fault of the clock or of the system under test: a run that has one is to be failed.
    """

    __slots__ = ("_counts", "above", "below")

    def __init__(self) -> None:
        self._counts: Nanoseconds = np.zeros(CELLS, np.int64)
        self.below = 0
        self.above = 0

    @property
    def count(self) -> int:
        """How many values were recorded, those out of range included."""
        return int(self._counts.sum()) + self.out_of_range

    @property
    def out_of_range(self) -> int:
        """How many of the values were below 1 us or above 60 s."""
        return self.below + self.above

    def record_many(self, nanoseconds: Nanoseconds) -> None:
        """Count every one of *nanoseconds*."""
        if nanoseconds.dtype != np.int64:
            raise TypeError(f"nanoseconds must be int64, not {nanoseconds.dtype}")
        for start in range(0, len(nanoseconds), _BATCH):
            self._record(nanoseconds[start : start + _BATCH])

    def percentile(self, share: float) -> float | None:
        """Return, in ms, the smallest value that at least *share* (0.99: p99) of all values do not exceed.

        None with too few samples (:func:`samples_needed`), and where that value is one out of range.
        """
        count = self.count
        if count < samples_needed(share):
            return None
        rank = math.ceil(round(share * count, 6)) - self.below  # 0.07 * 100 is 7.000000000000001
        cell = int(np.searchsorted(self._counts.cumsum(), rank))
        return _middle_ns(cell) / 1e6 if rank > 0 and cell < CELLS else None

    def interval(self, share: float) -> tuple[float, float] | None:
        """Return, in ms, the values between which the percentile of *share* lies, with 95 % confidence.

        They are two of the ordered values (order statistics). None where there is no percentile to show.
        """
        count = self.count
        if self.percentile(share) is None:
            return None
        margin = TWO_SIDED * math.sqrt(count * share * (1 - share))
        ranks = (
            max(1, math.floor(share * count - margin)),
            min(count, math.ceil(share * count + margin) + 1),
        )
        low, high = (np.searchsorted(self._counts.cumsum(), rank - self.below).item() for rank in ranks)
        return (_middle_ns(low) / 1e6, _middle_ns(high) / 1e6) if high < CELLS else None

    def _record(self, batch: Nanoseconds) -> None:
        below, above = batch < LOWEST_NS, batch > HIGHEST_NS
        self.below += int(np.count_nonzero(below))
        self.above += int(np.count_nonzero(above))
        cells = _cells(batch[~(below | above)])
        self._counts += np.bincount(cells - _FIRST_CELL, minlength=CELLS)


def _middle_ns(cell: int) -> float:
    """Return the middle of the whole nanoseconds that are counted in *cell*."""
    first = _FIRST_CELL + cell
    low, end = (np.array([first, first + 1]) << _DROPPED_BITS).view(np.float64).tolist()
    return float(low + end - 1) / 2


RECORDS_READ = 250_000
"""At once, of a raw file: ten million need no more memory than a few."""
SLICES = 20
EDGE = 6
"""The first and the last sixth of a window are left out where clients begin and end one by one."""
PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One window. *throughput* is None when a request was lost or answered wrongly: it would mean nothing.

    Percentiles are milliseconds, None with too few samples for them. Response time counts from when a request
    was planned, service time from when it was sent; in a closed loop they are the same.
    """

    made: int
    done: int
    wrong: int
    failed: dict[str, int]
    lost: int
    duplicates: int
    seconds: float
    throughput: float | None
    offered: float | None = None
    """Requests per second that were planned; None in a closed loop."""
    response_ms: dict[str, float | None] = field(default_factory=dict)
    service_ms: dict[str, float | None] = field(default_factory=dict)
    response_interval_ms: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Between which values each percentile of the response time lies, with 95 % confidence."""
    under_way: float = 0.0
    """Requests that were sent and not yet answered, on average, in the middle of the time of sending."""
    late_p99_ms: float | None = None
    """By how much requests were sent later than planned."""
    out_of_range: int = 0
    """Response times that the histogram cannot hold (under 1 us, over 60 s): they invalidate the window."""
    slices: list[float] = field(default_factory=list)
    """Throughput in each twentieth of the window."""
    backlog: list[int] = field(default_factory=list)
    """Requests that were planned and not yet done at the end of each twentieth."""
    achieved_share: float | None = None
    """The rate of the answers over that of the plan, from the first to the last of each."""
    generator_cpu_seconds: float = 0.0

    @property
    def is_whole(self) -> bool:
        """Tell whether every request was answered once, rightly."""
        return self.done == self.made and not self.duplicates


@dataclass(frozen=True, slots=True)
class Usage:
    """What each component spent in a window; *rss_mib* is the highest of all samples."""

    cpu_seconds: dict[str, float] = field(default_factory=dict)
    rss_mib: dict[str, float] = field(default_factory=dict)
    busy_share: float = 0.0
    """The part of all cores of this machine that worked, for whatever process; 0 to 1."""
    steal_share: float = 0.0
    """The part that other guests of the same hardware had."""


def summarise(tally: Tally, raws: Sequence[Path], offered: float | None = None) -> Measurement:
    """Return the figures of a window whose right answers stand in the files *raws*."""
    response, service, late = Histogram(), Histogram(), Histogram()
    span = _span(raws)
    first, last = span.first_planned, span.last_done
    under_way_ns = 0
    ended, begun = np.zeros(SLICES, dtype=np.int64), np.zeros(SLICES, dtype=np.int64)
    for times in _chunks(raws):
        planned, sent, done = times[:, 0], times[:, 1], times[:, 2]
        response.record_many(done - planned)
        service.record_many(done - sent)
        under_way_ns += span.overlap(planned, done)
        late.record_many(np.maximum(sent - planned, 1_000))  # on time is within the first microsecond
        for counts, clock in ((ended, done), (begun, planned)):
            places = (clock - first) * SLICES // max(1, last - first + 1)
            counts += np.bincount(places, minlength=SLICES)[:SLICES]
    seconds = (last - first) / 1e9
    is_whole = tally.done == tally.made and not tally.duplicates and seconds > 0
    return Measurement(
        made=tally.made,
        done=tally.done,
        wrong=tally.wrong,
        failed=dict(tally.failed),
        lost=tally.lost,
        duplicates=tally.duplicates,
        seconds=seconds,
        throughput=tally.done / seconds if is_whole else None,
        offered=offered,
        response_ms=_percentiles(response),
        service_ms=_percentiles(service),
        response_interval_ms=_intervals(response),
        under_way=under_way_ns / max(1, span.late - span.early),
        late_p99_ms=late.percentile(0.99) if offered else None,
        out_of_range=response.out_of_range,
        slices=[float(count) for count in ended / max(seconds / SLICES, 1e-9)],
        backlog=(begun.cumsum() - ended.cumsum()).tolist(),
        achieved_share=span.planned_over_done if offered else None,
        generator_cpu_seconds=tally.cpu_seconds,
    )


def _percentiles(histogram: Histogram) -> dict[str, float | None]:
    return {name: histogram.percentile(share) for name, share in PERCENTILES.items()}


def _intervals(histogram: Histogram) -> dict[str, tuple[float, float]]:
    found = {name: histogram.interval(share) for name, share in PERCENTILES.items()}
    return {name: interval for name, interval in found.items() if interval}


class _Span(NamedTuple):
    """When the first and the last request were planned and done."""

    first_planned: int = 0
    last_planned: int = 0
    first_done: int = 0
    last_done: int = 0

    @property
    def early(self) -> int:
        """When all clients had begun."""
        return self.first_planned + (self.last_planned - self.first_planned) // EDGE

    @property
    def late(self) -> int:
        """Until when all clients went on."""
        return self.last_planned - (self.last_planned - self.first_planned) // EDGE

    def overlap(self, begun: Times, ended: Times) -> int:
        """Return the nanoseconds between :attr:`early` and :attr:`late` of requests, all together."""
        return int(np.maximum(np.minimum(ended, self.late) - np.maximum(begun, self.early), 0).sum())

    @property
    def planned_over_done(self) -> float:
        return (self.last_planned - self.first_planned) / max(1, self.last_done - self.first_done)


def _span(raws: Sequence[Path]) -> _Span:
    ends = [
        (times[:, 0].min(), times[:, 0].max(), times[:, 2].min(), times[:, 2].max())
        for times in _chunks(raws)
    ]
    if not ends:
        return _Span()
    starts, lasts, dones, ends_of_all = zip(*ends, strict=True)
    return _Span(int(min(starts)), int(max(lasts)), int(min(dones)), int(max(ends_of_all)))


def _chunks(raws: Sequence[Path]) -> Iterator[Times]:
    """Yield the records of *raws*, some at a time, so that ten million need no more memory than a few."""
    for raw in raws:
        with raw.open("rb") as file:
            while len(read := np.fromfile(file, dtype=np.int64, count=CLOCKS * RECORDS_READ)):
                yield read.reshape(-1, CLOCKS)
