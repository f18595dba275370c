"""A first-come first-served queue with a changing number of workers (G/G/N), exact, event by event."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappush, heapreplace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from lab.errors import Code, InvalidRequest

BLOCK = 65_536
"""Events turned into Python numbers at a time: fast to loop over, and memory stays small."""
SPREADS = ("constant", "exponential", "lognormal")

Seconds = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Times:
    """A distribution of work times or start-up times, in seconds."""

    mean: float
    spread: str = "constant"
    """One of SPREADS."""
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
        if self.spread == "exponential":
            return generator.exponential(self.mean, count)
        if self.spread == "lognormal":
            sigma = np.log1p(self.variation**2) ** 0.5
            return self.mean * generator.lognormal(-(sigma**2) / 2, sigma, count)
        return np.full(count, self.mean)


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
        self._arrivals, self._work = arrivals, work
        self._generator, self._random = np.random.default_rng([seed, 1]), random.Random(seed)
        self._events = self._all_events()
        self._next: tuple[float, float] | None = None

    def add(self, ready_at: float) -> None:
        """Add a worker that takes its first event at *ready_at*."""
        heappush(self.free, ready_at)

    def retire(self, count: int, now: float) -> list[float]:
        """Let *count* workers finish what they are at and leave; return when they do, not before *now*.

        Any of them: how long a worker has been there does not tell what it is at.
        """
        self._random.shuffle(self.free)
        gone = [max(now, self.free.pop()) for _ in range(count)]
        heapify(self.free)
        self.leaving += gone
        return gone

    def serve(self, until: float, slower: float = 1.0, cores: int = 0) -> None:
        """Let workers begin what they can before *until*; each work takes *slower* times as long.

        *cores*: processors that the work needs, as if the busy share them evenly; 0: work only waits.
        """
        if not self.free:
            return
        free, finished, busy_seconds = self.free, [], 0.0
        waiting = () if self._next is None else (self._next,)
        self._next = None
        for event in chain(waiting, self._events):
            arrival, work = event
            start = free[0] if free[0] > arrival else arrival
            if start >= until:
                self._next = event
                break
            work *= slower
            if cores:
                work *= max(1.0, (1 + sum(one > start for one in free)) / cores)
            heapreplace(free, start + work)
            finished.append(start + work)
            busy_seconds += work
        self.finished[self.taken : self.taken + len(finished)] = finished
        self.taken += len(finished)
        self.work_seconds += busy_seconds

    def _all_events(self) -> Iterator[tuple[float, float]]:
        for first in range(0, len(self._arrivals), BLOCK):
            part = self._arrivals[first : first + BLOCK]
            work = self._work.draw(self._generator, len(part))
            yield from zip(part.tolist(), work.tolist(), strict=True)
