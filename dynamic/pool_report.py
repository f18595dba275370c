"""What a pool knows of its workers, and what it tells of them."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from dynamic.slots import BUCKETS, Phase, Report, Slot


@dataclass(slots=True)
class PooledWorker:
    """A worker that the pool forked."""

    pid: int
    slot: Slot
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
        return self.slot.read().phase

    @property
    def is_starting(self) -> bool:
        """Whether it is not yet where it was told to be."""
        return self.phase < (Phase.SPARE if self.joined_at is None else Phase.READY)

    @property
    def state(self) -> str:
        """What it is to the pool: leaving, spare, ready or starting."""
        if self.left_at is not None:
            return "leaving"
        if self.joined_at is None:
            return "spare"
        return "ready" if self.phase is Phase.READY else "starting"


@dataclass(slots=True)
class Totals:
    """Of all workers that are gone."""

    finished: int = 0
    worked_ns: int = 0
    cpu_ns: int = 0
    crashed: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * BUCKETS)

    def add(self, slot: Slot) -> None:
        """Take over what one that ended leaves in its *slot*."""
        report = slot.read()
        self.finished += report.finished
        self.worked_ns += report.worked_ns
        self.cpu_ns += report.cpu_ns
        self.buckets = _added(self.buckets, slot)


def reported(workers: Iterable[PooledWorker], totals: Totals, lacking: int) -> dict[str, object]:
    """Return what *workers* and those before them did, as JSON has it; times are seconds.

    *lacking* ones that are not forked yet count as starting: they are wished for, and paid.
    """
    now_ns, buckets = time.monotonic_ns(), totals.buckets
    finished, worked_ns, cpu_ns = totals.finished, totals.worked_ns, totals.cpu_ns
    begun_ns = under_way = 0
    described = []
    for worker in workers:
        report = worker.slot.read()
        finished += report.finished
        worked_ns += report.worked_ns
        cpu_ns += report.cpu_ns
        if report.phase is Phase.READY:
            begun_ns += sum(now_ns - begun for begun in report.begun_ns)
        under_way += report.under_way
        buckets = _added(buckets, worker.slot)
        described.append(_described(worker, report))
    states = [worker["state"] for worker in described]
    return {
        **{state: states.count(state) for state in ("ready", "spare", "leaving")},
        "starting": states.count("starting") + lacking,
        "under_way": under_way,
        "finished": finished,
        "worked_seconds": worked_ns / 1e9,
        "busy_seconds": (worked_ns + begun_ns) / 1e9,
        "cpu_seconds": cpu_ns / 1e9,
        "crashed": totals.crashed,
        "buckets": buckets,
        "workers": described,
    }


def _added(buckets: list[int], slot: Slot) -> list[int]:
    return [a + b for a, b in zip(buckets, slot.buckets(), strict=True)]


def _described(worker: PooledWorker, report: Report) -> dict[str, object]:
    first_seconds = None
    if worker.joined_at is not None and report.first_ns:
        first_seconds = report.first_ns / 1e9 - worker.joined_at
    return {
        "pid": worker.pid,
        "state": worker.state,
        "finished": report.finished,
        "start_seconds": worker.start_seconds,
        "first_seconds": first_seconds,
    }
