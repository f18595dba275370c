"""Statistics of workers, in memory that they share with their pool: no message, no lock, one writer a field.

A worker that is killed leaves its numbers behind. The pool adds them up and gives the place to the next.
"""

import mmap
import time
from bisect import bisect_left
from collections.abc import Sequence
from enum import IntEnum
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

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
        """Return a part that nobody uses."""
        return next((part for part in self._parts if part.read().phase is Phase.FREE), None)

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
