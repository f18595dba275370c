"""From raw times and ledgers to the figures of a window."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.record.histogram import Histogram
from harness.record.recorder import CLOCKS, Tally

RECORDS_AT_ONCE = 250_000
SLICES = 20
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


def summarise(tally: Tally, raws: Sequence[Path], offered: float | None = None) -> Measurement:
    """Return the figures of a window whose right answers stand in the files *raws*."""
    response, service, late = Histogram(), Histogram(), Histogram()
    span = _span(raws)
    first, last = span.first_planned, span.last_done
    ended, begun = np.zeros(SLICES, dtype=np.int64), np.zeros(SLICES, dtype=np.int64)
    for times in _chunks(raws):
        planned, sent, done = times[:, 0], times[:, 1], times[:, 2]
        response.record_many(done - planned)
        service.record_many(done - sent)
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
        late_p99_ms=late.percentile(0.99) if offered else None,
        out_of_range=response.out_of_range,
        slices=[float(count) for count in ended / max(seconds / SLICES, 1e-9)],
        backlog=(begun.cumsum() - ended.cumsum()).tolist(),
        achieved_share=span.planned_over_done if offered else None,
        generator_cpu_seconds=tally.cpu_seconds,
    )


def _percentiles(histogram: Histogram) -> dict[str, float | None]:
    return {name: histogram.percentile(share) for name, share in PERCENTILES.items()}


class _Span(NamedTuple):
    """When the first and the last request were planned and done."""

    first_planned: int = 0
    last_planned: int = 0
    first_done: int = 0
    last_done: int = 0

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
            while len(read := np.fromfile(file, dtype=np.int64, count=CLOCKS * RECORDS_AT_ONCE)):
                yield read.reshape(-1, CLOCKS)
