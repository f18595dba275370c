"""What a policy is told, and the capacity formula: how many workers a known rate needs at least."""

import math
from dataclasses import dataclass

TARGET_SECONDS = 2.0
"""Tr: the response time that is aimed at, and the objective by which an event is late."""
LATE_SHARE = 0.001
"""Of the events, what may be late with the fewest workers that do."""
START_PRICE = 2.0
"""Worker-seconds: the processor time of a start over that of a worker's second at work (docs/policies.md)."""
KEPT_STARTS = 100
"""More than a batch: the last ones of it start latest."""


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
