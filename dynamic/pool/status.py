"""What workers report, in memory that they share with their pool, and what the pool tells of them.

No message, no lock, one writer a field. A worker that is killed leaves its numbers behind. The pool adds
them up and gives the place to the next.
"""

import mmap
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from dynamic.events import planned_ns

if TYPE_CHECKING:
    from pika.spec import BasicProperties

PULSE_SECONDS = 0.5
BUCKETS_PER_DOUBLING = 8
BUCKETS = 144
"""From 1 ms on: up to 262 s."""


class Phase(IntEnum):
    """How far a worker is."""

    FREE = 0
    STARTING = 1
    SPARE = 2
    """Connected and tried, but it takes nothing yet."""
    READY = 3


class _Field(IntEnum):
    PHASE = 0
    PULSE_NS = 1
    READY_NS = 2
    FIRST_NS = 3
    CPU_NS = 4
    CONSUMERS = 5
    BUCKETS = 13


class _ConsumerField(IntEnum):
    UNDER_WAY = 0
    FINISHED = 1
    WORKED_NS = 2
    BEGUN_NS = 3


_WIDTH = _Field.BUCKETS + BUCKETS
_MILLION = 1_000_000


class WorkerReport(NamedTuple):
    """What a worker says of itself. Times: nanoseconds of the monotonic clock, 0 for never."""

    phase: Phase
    pulse_ns: int
    """When it last said that it lives; it says so every PULSE_SECONDS from SPARE on."""
    ready_ns: int
    first_ns: int
    """When it began its first message."""
    cpu_ns: int
    """Processor time that it has used, up to its last pulse."""
    under_way: int
    """Messages delivered and not acknowledged."""
    finished: int
    worked_ns: int
    """On messages that are finished."""
    begun_ns: tuple[int, ...]
    """When it began each message that it works on."""


class SharedStatistics:
    """Room for *count* workers, and how many times as long as declared all their work takes."""

    def __init__(self, count: int) -> None:
        self._memory = mmap.mmap(-1, 8 * (1 + count * _WIDTH))
        self._words = memoryview(self._memory).cast("q")
        self._words[0] = _MILLION
        self._parts = [WorkerStatistics(self._words[:1], self._part(index)) for index in range(count)]

    def __getitem__(self, index: int) -> "WorkerStatistics":
        return self._parts[index]

    def free(self) -> "WorkerStatistics | None":
        """Return an unused part."""
        return next((part for part in self._parts if part.phase is Phase.FREE), None)

    def slow_down(self, factor: float) -> None:
        """Let work take *factor* times as long as declared from the next message on."""
        self._words[0] = round(factor * _MILLION)

    def _part(self, index: int) -> memoryview:
        start = 1 + index * _WIDTH
        return self._words[start : start + _WIDTH]


class WorkerStatistics:
    """One worker's part."""

    def __init__(self, slowness: memoryview, words: memoryview) -> None:
        self._slowness = slowness
        self._words = words

    @property
    def slowness(self) -> float:
        """How many times as long as declared work takes now."""
        return int(self._slowness[0]) / _MILLION

    @property
    def phase(self) -> Phase:
        """How far the worker is."""
        return Phase(self._words[_Field.PHASE])

    def read(self) -> WorkerReport:
        """Return what stands here."""
        words = self._words[: _Field.BUCKETS].tolist()
        counts = [words[_Field.CONSUMERS + each :: len(_ConsumerField)] for each in _ConsumerField]
        under_way, finished, worked_ns, begun_ns = counts
        begun = tuple(filter(None, begun_ns))
        phase, pulse_ns, ready_ns, first_ns, cpu_ns = words[: _Field.CONSUMERS]
        totals = sum(under_way), sum(finished), sum(worked_ns)
        return WorkerReport(Phase(phase), pulse_ns, ready_ns, first_ns, cpu_ns, *totals, begun)

    def buckets(self) -> Sequence[int]:
        """Return how many response times fell into each bucket; see :func:`bucket_seconds`."""
        return self._words[_Field.BUCKETS :].tolist()

    def clear(self, phase: Phase = Phase.FREE) -> None:
        """Forget everything, for the next worker."""
        self._words[:] = memoryview(bytes(8 * _WIDTH)).cast("q")
        self._words[_Field.PHASE] = phase

    # In the worker.

    def enter(self, phase: Phase) -> None:
        """Say how far the worker is."""
        if phase is Phase.READY:
            self._words[_Field.READY_NS] = time.monotonic_ns()
        self._words[_Field.PHASE] = phase

    def pulse(self) -> None:
        """Say that the worker lives, and what processor time it has used."""
        self._words[_Field.CPU_NS] = time.process_time_ns()
        self._words[_Field.PULSE_NS] = time.monotonic_ns()

    @property
    def is_ready(self) -> bool:
        """Whether the worker takes events."""
        return bool(self._words[_Field.PHASE] == Phase.READY)

    def watch(self) -> "ConsumerWatch":
        """Return what the worker's consumers write to."""
        return ConsumerWatch(self, self._words, 0)


class ConsumerWatch:
    """Notes what one consumer of a worker does: the :class:`rabbitmq.tuned.delivery.Watch` of it."""

    def __init__(self, part: WorkerStatistics, words: memoryview, consumer: int) -> None:
        self._part = part
        self._words = words
        self._consumer = consumer
        start = _Field.CONSUMERS + consumer * len(_ConsumerField)
        self._own = words[start : start + len(_ConsumerField)]
        self._planned_ns = 0

    def beside(self) -> "ConsumerWatch":
        return ConsumerWatch(self._part, self._words, self._consumer + 1)

    def under_way(self, messages: int) -> None:
        self._own[_ConsumerField.UNDER_WAY] = messages

    def begin(self, properties: "BasicProperties") -> None:
        now = time.monotonic_ns()
        self._planned_ns = planned_ns(properties)
        if self._part.is_ready and not self._words[_Field.FIRST_NS]:
            self._words[_Field.FIRST_NS] = now
        self._own[_ConsumerField.BEGUN_NS] = now

    def end(self) -> None:
        now = time.monotonic_ns()
        own = self._own
        worked_ns = now - own[_ConsumerField.BEGUN_NS]
        own[_ConsumerField.BEGUN_NS] = 0
        if not self._part.is_ready:  # the canary
            return
        own[_ConsumerField.WORKED_NS] += worked_ns
        own[_ConsumerField.FINISHED] += 1
        if (
            self._planned_ns
        ):  # an event of the retry queue does not say when it was due: one consumer writes here
            self._words[_Field.BUCKETS + _bucket(now - self._planned_ns)] += 1


def bucket_seconds(bucket: int) -> float:
    """Return the longest response time, seconds, of *bucket*: 9 % more than of the one before."""
    return float(0.001 * 2 ** (bucket / BUCKETS_PER_DOUBLING))


def quantile(buckets: Sequence[int], share: float) -> float | None:
    """Return the response time, seconds, that *share* of those in *buckets* do not exceed; None if none."""
    sums = list(accumulate(buckets))
    return bucket_seconds(bisect_left(sums, share * sums[-1])) if sums and sums[-1] else None


def _bucket(nanoseconds: int) -> int:
    return min(bisect_left(_EDGES_NS, nanoseconds), BUCKETS - 1)


_EDGES_NS = tuple(round(bucket_seconds(bucket) * 1e9) for bucket in range(BUCKETS))


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
    """How many response times were of each length: see `dynamic.pool.status.bucket_seconds`."""
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
    is_killed: bool = False
    """Whether its pool killed it: it was silent."""

    @property
    def phase(self) -> Phase:
        """How far it is."""
        return self.statistics.phase

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
