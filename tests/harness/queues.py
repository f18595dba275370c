"""Simulated queues of known capacity, measured as load generators would measure them."""

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.experiment.capacity import Objective
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
