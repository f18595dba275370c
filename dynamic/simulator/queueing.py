"""A first-come first-served queue with a changing number of workers (G/G/N), exact, event by event."""

import math
import random
from dataclasses import dataclass
from heapq import heapify, heappush, heapreplace

import numpy as np
from numpy.typing import NDArray

from lab.errors import Code, InvalidRequest

BLOCK = 4096
"""Events looked at together: those that still wait then are looked at again."""
MANY_WORKERS = 12
"""From so many on, numpy is faster than a heap where work times are constant."""
SPREADS = ("constant", "exponential", "lognormal", "in turn")

Seconds = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Times:
    """A distribution of work times or start-up times, in seconds."""

    mean: float
    spread: str = "constant"
    """One of SPREADS; `in turn`: one mean for the first of those drawn together, two for the second ..."""
    variation: float = 1.0
    """Standard deviation over mean, of `lognormal`."""

    def __post_init__(self) -> None:
        if self.spread not in SPREADS:
            message = f"no spread {self.spread!r}; there are {', '.join(SPREADS)}"
            raise InvalidRequest(Code.MALFORMED, message)
        if not (0 <= self.mean < 1e6 and 0 < self.variation < 100):
            message = "times must have a mean from 0 s on and a variation above 0"
            raise InvalidRequest(Code.MALFORMED, f"{message}, got {self.mean:g} and {self.variation:g}")

    def draw(self, generator: np.random.Generator, count: int) -> Seconds:
        """Return the next *count* times."""
        if self.spread == "in turn":
            return self.mean * np.arange(1.0, count + 1)
        if self.spread == "exponential":
            return generator.exponential(self.mean, count)
        if self.spread == "lognormal":
            sigma = np.log1p(self.variation**2) ** 0.5
            return self.mean * generator.lognormal(-(sigma**2) / 2, sigma, count)
        return np.full(count, self.mean)


def work_times(work: Times, seed: int, count: int) -> Seconds:
    """Return the work times of the first *count* events of a run."""
    return work.draw(np.random.default_rng([seed, 1]), count)


class Queue:
    """Events that wait for workers, and the workers. Time only goes forward, by :meth:`serve`."""

    def __init__(self, arrivals: Seconds, work: Times, seed: int) -> None:
        self.finished = np.full(len(arrivals), np.inf)
        """When each event is finished; infinite for those not begun."""
        self.taken = 0
        """Events that a worker has begun."""
        self.work_seconds = 0.0
        """Work begun so far."""
        self.free: list[float] = []
        """When each worker can take its next event: a heap."""
        self.leaving: list[float] = []
        """When retired workers have finished what they are at."""
        self._arrivals, self._random = arrivals, random.Random(seed)
        self._is_constant = work.spread == "constant"
        one = np.broadcast_to(work.mean, len(arrivals))
        self._work = one if self._is_constant else work_times(work, seed, len(arrivals))
        self._next = float(arrivals[0]) if len(arrivals) else math.inf
        """When the first event that is not begun arrives."""

    def add(self, ready_at: float) -> None:
        """Add a worker that takes its first event at *ready_at*."""
        heappush(self.free, ready_at)

    def retire(self, count: int, now: float) -> list[float]:
        """Let *count* workers finish what they are at and leave; return when they do, not before *now*.

        Any of them: how long a worker has been there does not tell what it is at.
        """
        self.free.sort()  # the same draw whichever way they were served
        self._random.shuffle(self.free)
        gone = [max(now, self.free.pop()) for _ in range(count)]
        heapify(self.free)
        self.leaving += gone
        return gone

    def arrived(self, until: float) -> int:
        """Return how many events arrive before *until*, a time up to which :meth:`serve` was called."""
        return self.taken if self._next >= until else int(self._arrivals.searchsorted(until))

    def serve(self, until: float, slower: float = 1.0, cores: int = 0) -> None:
        """Let workers begin what they can before *until*; each work takes *slower* times as long.

        *cores*: processors that the work needs, as if the busy share them evenly; 0: work only waits.
        """
        while self.free and max(self._next, self.free[0]) < until:
            last = min(self.taken + BLOCK, int(self._arrivals.searchsorted(until)))
            due, work = self._arrivals[self.taken : last], self._work[self.taken : last]
            if slower != 1.0:
                work = work * slower
            if self._is_cyclic(work) and not cores:
                seconds = self._in_turn(due, float(work[0]), until)
            else:
                seconds = self._one_by_one(due.tolist(), work.tolist(), until, cores)
            self.work_seconds += seconds
            self._next = float(self._arrivals[self.taken]) if self.taken < len(self._arrivals) else math.inf

    def _is_cyclic(self, work: Seconds) -> bool:
        """Whether workers take events in turn: work times are equal, and all end their first before a second.

        And whether that is worth it.
        """
        if not self._is_constant or not MANY_WORKERS <= len(self.free) <= len(work):
            return False
        return max(self.free) <= max(self._next, self.free[0]) + float(work[0])

    def _in_turn(self, due: Seconds, work: float, until: float) -> float:
        """Do as :meth:`_one_by_one`, a round of all workers at a time."""
        workers = len(self.free)
        free = np.empty(workers + len(due))  # when the worker of each event is free; then what the last leave
        free[:workers] = sorted(self.free)
        starts = np.full(len(due), np.inf)
        for first in range(0, len(due), workers):
            part = due[first : first + workers]
            begun = np.maximum(part, free[first : first + len(part)], out=starts[first : first + workers])
            np.add(begun, work, out=free[first + workers : first + workers + len(part)])
            if begun[-1] >= until:
                break
        count = int(starts.searchsorted(until))
        self.free = free[count : count + workers].tolist()
        self._finish(free[workers : workers + count])
        return count * work

    def _one_by_one(self, due: list[float], works: list[float], until: float, cores: int) -> float:
        """Let workers begin those of *due* that they can before *until*; return the work of these."""
        free, finished = self.free, list[float]()
        for arrival, work in zip(due, works, strict=True):
            start = free[0] if free[0] > arrival else arrival
            if start >= until:
                break
            if cores:
                work *= max(1.0, (1 + sum(one > start for one in free)) / cores)
                works[len(finished)] = work
            heapreplace(free, start + work)
            finished.append(start + work)
        self._finish(finished)
        return math.fsum(works[: len(finished)])

    def _finish(self, finished: Seconds | list[float]) -> None:
        first, self.taken = self.taken, self.taken + len(finished)
        self.finished[first : self.taken] = finished
