"""The capacity search against simulated queues of known capacity, and callers that are too few."""

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.experiment.capacity import (
    CallerBound,
    Objective,
    backlog_growth,
    half_chance,
    is_caller_bound,
    search,
)
from harness.record.measurement import SLICES, Histogram, Measurement
from tests.harness.runs import window

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Queue:
    """*servers* with one line; each does *rate* requests per second, of a random or of one length."""

    rate: float
    servers: int = 1
    is_random: bool = False

    def done(self, arrivals: Floats, random: np.random.Generator) -> Floats:
        """Return when the requests that arrive at *arrivals* are done."""
        size = len(arrivals)
        services = random.exponential(1 / self.rate, size) if self.is_random else np.full(size, 1 / self.rate)
        if self.servers == 1:
            worked: Floats = services.cumsum()
            return worked + np.maximum.accumulate(arrivals - worked + services)
        free = [0.0] * self.servers
        ends = []
        for arrival, service in zip(arrivals, services, strict=True):
            ends.append(max(heapq.heappop(free), arrival) + service)
            heapq.heappush(free, ends[-1])
        return np.array(ends)

    def capacity(self, objective: Objective) -> float:
        """Return the rate at which the 99th percentile of a long time is that of *objective*."""
        if self.is_random and self.servers == 1:
            return self.rate - math.log(100) / (objective.p99_ms / 1000)
        random = np.random.default_rng(99)
        low, high = 0.2 * self.rate * self.servers, self.rate * self.servers
        for _ in range(9):
            middle = (low + high) / 2
            arrivals = random.exponential(1 / middle, 100_000).cumsum()
            times = (self.done(arrivals, random) - arrivals)[10_000:]
            is_kept = np.quantile(times, 0.99) <= objective.p99_ms / 1000
            low, high = (middle, high) if is_kept else (low, middle)
        return (low + high) / 2

    def attempts(self, objective: Objective, seed: int) -> Callable[[float], Measurement]:
        """Return what measures one window of a rate after the other."""
        random = np.random.default_rng(seed)

        def attempt(rate: float) -> Measurement:
            seconds = objective.seconds_for(rate)
            arrivals = np.sort(random.uniform(0, seconds, max(2, random.poisson(rate * seconds))))
            return measured(arrivals, self.done(arrivals, random), rate)

        return attempt


def measured(arrivals: Floats, done: Floats, rate: float) -> Measurement:
    """Return the window of requests that were planned at *arrivals* and done at *done*, all in seconds."""
    first, last = arrivals[0], done.max()
    edges = np.linspace(first, last, SLICES + 1)[1:]
    backlog = np.searchsorted(arrivals, edges, "right") - np.searchsorted(np.sort(done), edges, "right")
    times = Histogram()
    times.record_many(((done - arrivals) * 1e9).astype(np.int64))
    interval = times.interval(0.99)
    return window(
        len(arrivals) / (last - first),
        made=len(arrivals),
        done=len(arrivals),
        seconds=float(last - first),
        offered=rate,
        backlog=backlog.tolist(),
        response_ms={"p99": times.percentile(0.99)},
        response_interval_ms={"p99": interval} if interval else {},
        late_p99_ms=0.1,
        achieved_share=float((arrivals[-1] - arrivals[0]) / (last - done.min())),
    )


def windows(queue: Queue, rate: float, seconds: float, count: int) -> Iterator[Measurement]:
    """Yield windows of *rate* at *queue*."""
    random = np.random.default_rng(5)
    for _ in range(count):
        arrivals = np.sort(random.uniform(0, seconds, random.poisson(rate * seconds)))
        yield measured(arrivals, queue.done(arrivals, random), rate)


QUEUES = [
    (Queue(500, is_random=True), Objective(50)),
    (Queue(500), Objective(50)),
    (Queue(100), Objective(100)),
    (Queue(2000, is_random=True), Objective(50)),
    (Queue(2500), Objective(20)),
]
SEARCHES = 12
"""Of each queue."""


def test_the_interval_holds_the_known_capacity_in_90_of_100_searches_and_is_not_far_below_it() -> None:
    held, lows = [], []
    for queue, objective in QUEUES:
        truth = queue.capacity(objective)
        for seed in range(SEARCHES):
            first = queue.rate * np.random.default_rng(seed).uniform(0.2, 0.8)
            found = search(queue.attempts(objective, seed), objective, first)
            held.append(found.low <= truth <= (found.high or 0.0))
            lows.append(found.low / truth)
    print(f"held the truth in {fmean(held):.0%} of {len(held)}; lower end {fmean(lows):.3f} of it on average")
    assert fmean(held) >= 0.9
    assert fmean(lows) >= 0.95


def test_one_unlucky_window_does_not_lower_the_capacity() -> None:
    tried: list[float] = []

    def attempt(rate: float) -> Measurement:
        tried.append(rate)
        is_kept = rate <= 500.0 and len(tried) != 1
        return window(rate, offered=rate, achieved_share=1.0, response_ms={"p99": 5.0 if is_kept else 900.0})

    found = search(attempt, Objective(200), first=400)
    assert found.high is not None
    assert found.low <= 500.0 <= found.high
    assert found.low > 430


@pytest.mark.parametrize("rate", [50.0, 100.0])
def test_a_stable_queue_is_hardly_ever_said_to_grow(rate: float) -> None:
    busy = windows(Queue(rate / 0.8, is_random=True), rate, 8.0, 200)
    share = fmean(backlog_growth(each) > 0.01 * rate for each in busy)
    print(f"a queue that is busy to 80 % is said to grow in {share:.0%} of its windows at {rate:g}/s")
    assert share <= 0.15


def test_a_queue_that_gets_ten_percent_too_much_is_said_to_grow() -> None:
    overloaded = windows(Queue(1000 / 1.1), 1000, 4.0, 50)
    assert fmean(backlog_growth(each) > 0.01 * 1000 for each in overloaded) > 0.9


def callers_of_a_fast_system(rate: float, callers: int) -> Measurement:
    """Return what *callers* that wait for each answer measure of a system that answers all in 10 ms."""
    most = callers / 0.010
    if rate < 0.98 * most:
        return window(rate, offered=rate, achieved_share=1.0, late_p99_ms=0.1, response_ms={"p99": 10.2})
    slowed = min(rate, most)
    return window(
        slowed, offered=rate, achieved_share=slowed / rate, late_p99_ms=300.0, response_ms={"p99": 310.0}
    )


def test_a_system_that_answers_all_in_10_ms_is_not_said_to_sustain_what_its_callers_can() -> None:
    objective, callers = Objective(50), 32

    def attempt(rate: float) -> Measurement:
        measured = callers_of_a_fast_system(rate, callers)
        if is_caller_bound(measured, callers, objective):
            raise CallerBound(f"caller-bound: {callers} callers")
        return measured

    found = search(attempt, objective, first=400)
    assert found.low >= 1600
    assert found.high is None
    assert found.objections == ["caller-bound: 32 callers"]


def test_callers_that_are_all_busy_because_the_system_is_slow_are_not_the_limit() -> None:
    slow = window(400, offered=500, achieved_share=0.8, late_p99_ms=300.0, response_ms={"p99": 900.0})
    assert not is_caller_bound(slow, 32, Objective(50))


def test_the_chance_of_a_half_lies_where_windows_begin_to_fail() -> None:
    low, high = half_chance([(rate, rate < 100) for rate in (50, 80, 90, 95, 98, 102, 105, 110, 200)] * 3)
    assert 90 < low < 100 < high < 105
