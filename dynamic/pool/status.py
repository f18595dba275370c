"""What a pool knows of its workers, and what it tells of them."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from dynamic.pool.shared_statistics import BUCKETS, Phase, WorkerReport, WorkerStatistics


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What a pool tells of one worker."""

    pid: int
    state: str
    """starting, ready, spare or leaving."""
    finished: int
    start_seconds: float | None
    """From the wish for it until it took events; None: not yet, or a spare."""
    first_seconds: float | None
    """From the wish for it until it began its first event."""


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """What a pool answers to every request. Counts and seconds are totals since the pool started."""

    pid: int
    """Of the pool: another one has counted from 0 again."""
    wanted: int
    """Workers that it was last told to keep."""
    started: int
    """Workers forked so far."""
    failures: int
    """Workers that ended as soon as they began, one after the other; 0 after one that did not."""
    start_seconds: float | None
    """From the wish for a worker until it took events, median of the last ones; None: none was started."""
    ready: int
    spare: int
    leaving: int
    starting: int
    under_way: int
    """Events delivered to workers and not acknowledged."""
    finished: int
    worked_seconds: float
    """On finished events."""
    busy_seconds: float
    """The same, with the events that workers work on now."""
    cpu_seconds: float
    crashed: int
    """Workers that ended unasked."""
    buckets: tuple[int, ...]
    """How many response times were of each length: see `dynamic.pool.shared_statistics.bucket_seconds`."""
    workers: tuple[WorkerStatus, ...]
    """The oldest first."""

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Self:
        """Rebuild what ``dataclasses.asdict`` made; TypeError or KeyError if it is something else."""
        workers = tuple(WorkerStatus(**worker) for worker in fields["workers"])
        return cls(**{**fields, "buckets": tuple(fields["buckets"]), "workers": workers})


@dataclass(slots=True)
class PooledWorker:
    """A worker that the pool forked."""

    pid: int
    statistics: WorkerStatistics
    number: int
    """Counts all that were forked: the oldest has the lowest."""
    forked_at: float
    joined_at: float | None = None
    """Since when there was a place for it among those that take events; None: a spare."""
    left_at: float | None = None
    """When it was told to leave."""
    start_seconds: float | None = None
    """From then until it did."""

    @property
    def phase(self) -> Phase:
        """How far it is."""
        return self.statistics.read().phase

    @property
    def is_starting(self) -> bool:
        """Whether it is not yet where it was told to be."""
        return self.phase < (Phase.SPARE if self.joined_at is None else Phase.READY)

    def described(self, report: WorkerReport) -> WorkerStatus:
        """Return what is told of it."""
        first_seconds = None
        if self.joined_at is not None and report.first_ns:
            first_seconds = report.first_ns / 1e9 - self.joined_at
        return WorkerStatus(
            self.pid, self._state(report.phase), report.finished, self.start_seconds, first_seconds
        )

    def _state(self, phase: Phase) -> str:
        if self.left_at is not None:
            return "leaving"
        if self.joined_at is None:
            return "spare"
        return "ready" if phase is Phase.READY else "starting"


@dataclass(slots=True)
class Totals:
    """Of all workers that are gone."""

    finished: int = 0
    worked_ns: int = 0
    cpu_ns: int = 0
    crashed: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * BUCKETS)

    def add(self, statistics: WorkerStatistics) -> None:
        """Take over what a worker that ended leaves in its *statistics*."""
        report = statistics.read()
        self.finished += report.finished
        self.worked_ns += report.worked_ns
        self.cpu_ns += report.cpu_ns
        self.buckets = _added(self.buckets, statistics)


def reported(workers: Iterable[PooledWorker], totals: Totals, lacking: int) -> dict[str, Any]:
    """Return the part of a PoolStatus that *workers* and those before them make.

    *lacking* ones that are not forked yet count as starting: they are wished for, and paid.
    """
    pairs = [(worker, worker.statistics.read()) for worker in workers]
    reports = [report for _, report in pairs]
    now_ns, buckets = time.monotonic_ns(), totals.buckets
    for worker, _ in pairs:
        buckets = _added(buckets, worker.statistics)
    described = tuple(worker.described(report) for worker, report in pairs)
    states = [worker.state for worker in described]
    worked_ns = totals.worked_ns + sum(report.worked_ns for report in reports)
    begun_ns = sum(now_ns - at for one in reports if one.phase is Phase.READY for at in one.begun_ns)
    return {
        **{state: states.count(state) for state in ("ready", "spare", "leaving")},
        "starting": states.count("starting") + lacking,
        "under_way": sum(report.under_way for report in reports),
        "finished": totals.finished + sum(report.finished for report in reports),
        "worked_seconds": worked_ns / 1e9,
        "busy_seconds": (worked_ns + begun_ns) / 1e9,
        "cpu_seconds": (totals.cpu_ns + sum(report.cpu_ns for report in reports)) / 1e9,
        "crashed": totals.crashed,
        "buckets": tuple(buckets),
        "workers": described,
    }


def _added(buckets: list[int], statistics: WorkerStatistics) -> list[int]:
    return [a + b for a, b in zip(buckets, statistics.buckets(), strict=True)]
