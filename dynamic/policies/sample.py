"""What a policy is told, what it remembers and what it answers: plain values, nothing that runs.

And the capacity formula: how many workers a known rate needs at least.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

TARGET_SECONDS = 2.0
"""Tr: the response time that is aimed at, and the objective by which an event is late."""
LATE_SHARE = 0.001
"""Of the events, what may be late with the fewest workers that do."""
START_PRICE = 2.0
"""Worker-seconds: the processor time of a start over that of a worker's second at work (docs/policies.md)."""
KEPT_STARTS = 100
"""More than a batch: the last ones of it start latest."""
WORK_TIMES = 2.0
"""How many times the mean work time a level lasts before it is judged: first its messages must come out."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of the system. Times are seconds, rates are messages per second."""

    time: float
    """Seconds, on any clock that only goes forward."""
    interval_seconds: float
    """Real time since the last reading that was not void."""
    arrivals: int | None
    """Messages that arrived in the interval; None: the reading is void, nothing else in it can be trusted."""
    backlog: int
    """B, messages: waiting in the queue and in flight at workers, which is all that is not finished."""
    completions: int
    """Messages finished in the interval."""
    busy_seconds: float
    """Worker-seconds spent on messages in the interval, at most the workers times the interval."""
    ready: int
    """Workers that take messages."""
    starting: int
    """Workers asked for that do not take messages yet."""
    min_workers: int
    max_workers: int
    declared_rate: float
    """Messages per second of one busy worker, as calibrated: the C of `assignment`, and a prior for mu."""
    start_seconds: float
    """From the wish for a worker until it takes messages: the median of the last KEPT_STARTS."""
    cores: int
    """Processors that the workers share."""
    start_price: float = START_PRICE
    """What a start costs, in worker-seconds: a worker that idles for less is cheaper than a new one."""
    cpu_seconds: float | None = None
    """Processor-seconds that the workers used in the interval; None: not known."""
    coming_rate: float | None = None
    """Highest rate until workers of the next decision are ready; only an experiment knows (`reference`)."""
    coming_service_rate: float | None = None
    """Messages per second of one busy worker in that time, as only an experiment knows it."""

    @property
    def workers(self) -> int:
        """Workers that are ready or starting."""
        return self.ready + self.starting

    def bounded(self, workers: int) -> int:
        """Return *workers*, or the nearest bound."""
        return max(self.min_workers, min(self.max_workers, workers))


def needed_workers(rate: float, service_rate: float, target: float = TARGET_SECONDS) -> int:
    """Return the fewest workers with which at most LATE_SHARE of Poisson arrivals is late; 0 for none."""
    return ceil(rate / service_rate + margin(service_rate, target)) if rate else 0


def margin(service_rate: float, target: float = TARGET_SECONDS) -> float:
    """Return what is needed beyond the load R = lambda / mu.

    Waiting times of M/M/N have a tail of at most exp(-(N mu - lambda) t), so N = R + ln(1000) / (mu Tr).
    """
    return -math.log(LATE_SHARE) / (service_rate * target)


def ceil(number: float) -> int:
    """Return the next whole number, rounding errors aside."""
    return math.ceil(round(number, 9))  # 3 * 0.1 is 0.30000000000000004


def arrival_rate(sample: Sample) -> float:
    """Return arrivals per second of the last interval."""
    return (sample.arrivals or 0) / sample.interval_seconds


class Level(NamedTuple):
    """A time with about the same number of workers, all of them busy."""

    seconds: float = 0.0
    completions: int = 0
    busy_seconds: float = 0.0

    @property
    def workers(self) -> float:
        """Mean number of busy workers."""
        return self.busy_seconds / self.seconds

    @property
    def rate(self) -> float:
        """Messages per second of them all."""
        return self.completions / self.seconds

    @property
    def is_ripe(self) -> bool:
        """Whether it has lasted long enough for what its workers began to have come out."""
        return self.completions > 0 and self.seconds * self.completions >= WORK_TIMES * self.busy_seconds


class Evidence(NamedTuple):
    """What has been seen of busy workers so far."""

    now: Level | None = None
    """The present level; None when workers have time left."""
    before: Level | None = None
    """The last judged level with fewer workers."""
    limit: int | None = None
    """Workers beyond which more do not help; None: not known."""
    limit_rate: float = 0.0
    """Messages per second when the limit was found."""
    alone: float = 0.0
    """Messages per second of a worker when each had a processor of its own; 0: not known."""

    @property
    def is_open(self) -> bool:
        """Whether workers were added of which one cannot say yet if they help."""
        return self.before is not None and self.now is not None and not self.now.is_ripe


class State(NamedTuple):
    """What a policy remembers from one decision to the next; each uses what it needs.

    A tuple: policies make several a reading, and of tuples that is four times as fast as of dataclasses.
    """

    wanted: int | None = None
    """The last answer; None before the first."""
    decided_at: float | None = None
    """When a policy with a period of its own (`hpa`) last decided."""
    rates: tuple[float, ...] = ()
    """Arrivals per second of the last readings (`adaptive`)."""
    completions: float = 0.0
    """Messages finished, those of old readings counting less and less."""
    busy_seconds: float = 0.0
    """Worker-seconds in which they were, in the same way."""
    unfinished_seconds: float = 0.0
    """Worker-seconds since the last message was finished."""
    wishes: tuple[tuple[float, int], ...] = ()
    """Times and sizes of the wishes that still keep workers from being retired."""
    calm: tuple[tuple[float, int], ...] = ()
    """Times, and how many workers would have been enough then, since fewer than there are would be."""
    surplus: float = 0.0
    """What was too many in that time, as a share of the workers, added up over the readings."""
    evidence: Evidence = Evidence()
    """Whether more workers have helped."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How many workers there shall be, ready or starting, and why."""

    wanted: int
    state: State
    reason: str
    """A sentence for the live view and the log."""
