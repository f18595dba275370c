"""A steady load with a rate that can be changed while it runs, and the outcome of its requests.

It is an open loop, so late answers show.
"""

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from lab.errors import Code, LabError
from lab.limits import DEFAULT_DEADLINE_SECONDS

WINDOW_SECONDS = 5.0
"""Of the percentiles: long enough for a p99, short enough to see what a button does."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Figures since the last reading; percentiles are of WINDOW_SECONDS. Rates are per second."""

    achieved: float
    failed: float
    p50: float | None
    """Of the response times of the last WINDOW_SECONDS; None: nothing was answered."""
    p99: float | None
    codes: Counter[Code]
    """Of the requests that failed."""


class Figures:
    """Counts requests; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: deque[tuple[float, float]] = deque()
        """When answered, and the response time."""
        self._answered = 0
        self._codes: Counter[Code] = Counter()
        self._read_at = time.monotonic()

    def answered(self, due: float) -> None:
        """Count a request that was due at *due*, of the monotonic clock, and is answered now."""
        now = time.monotonic()
        with self._lock:
            self._answered += 1
            self._times.append((now, now - due))

    def failed(self, code: Code) -> None:
        """Count a request that was refused or given up."""
        with self._lock:
            self._codes[code] += 1

    def read(self) -> Reading:
        """Return the figures, and begin to count anew."""
        now = time.monotonic()
        with self._lock:
            while self._times and self._times[0][0] < now - WINDOW_SECONDS:
                self._times.popleft()
            times = sorted(seconds for _, seconds in self._times)
            passed = max(1e-3, now - self._read_at)
            answered, codes = self._answered, self._codes
            self._answered, self._codes, self._read_at = 0, Counter(), now
        rate = answered / passed
        return Reading(rate, codes.total() / passed, percentile(times, 50), percentile(times, 99), codes)


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Return the smallest of the *ordered* values that at least *percent* of them do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else None


MOST_RATE = 500.0
"""Requests per second: what this one process can send while it also serves the page."""
CALLERS = 16
MOST_WAITING = 5_000
"""At most so many requests are due and not sent; more are refused here."""
LONGEST_NAP = 0.5

Send = Callable[[], object]


class Pace:
    """Calls *emit* with the time at which it is due, *rate* times a second, in a thread of its own."""

    def __init__(self, emit: Callable[[float], None], rate: float) -> None:
        self._emit = emit
        self._rate = rate
        self._changed = threading.Condition()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="pace", daemon=True)
        self._thread.start()

    @property
    def rate(self) -> float:
        """How often a second; 0: not at all."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        with self._changed:
            self._rate = rate
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while True:
            with self._changed:
                now = time.monotonic()
                next_due = due + 1 / self._rate if self._rate else now + LONGEST_NAP
                if not self._is_over and next_due > now:
                    self._changed.wait(min(LONGEST_NAP, next_due - now))
                if self._is_over:
                    return
                if not self._rate:
                    due = time.monotonic()
                    continue
                next_due = due + 1 / self._rate  # it may have changed meanwhile
            if next_due <= time.monotonic():
                due = next_due
                self._emit(due)


class Load:
    """Sends at *rate* what *connect* makes, by CALLERS threads with a client each; counts into *figures*."""

    def __init__(
        self, connect: Callable[[], AbstractContextManager[Send]], figures: Figures, rate: float
    ) -> None:
        self._connect = connect
        self._figures = figures
        self._due: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self._under_way = 0
        self._lock = threading.Lock()
        self._is_over = False
        self._callers = [
            threading.Thread(target=self._call, name=f"load {n}", daemon=True) for n in range(CALLERS)
        ]
        for caller in self._callers:
            caller.start()
        self.pace = Pace(self._put, rate)

    @property
    def backlog(self) -> int:
        """Requests that are due and not answered yet."""
        return self._due.qsize() + self._under_way

    @property
    def unsent(self) -> int:
        """Requests that are due and not sent yet: all callers wait for an answer."""
        return self._due.qsize()

    def close(self) -> None:
        """Send nothing more; wait for what is under way, as long as it may take."""
        self.pace.close()
        self._is_over = True
        for _ in self._callers:
            self._due.put(None)
        deadline = time.monotonic() + DEFAULT_DEADLINE_SECONDS + 1
        for caller in self._callers:
            caller.join(max(0.0, deadline - time.monotonic()))

    def _put(self, due: float) -> None:
        if self._due.qsize() < MOST_WAITING:
            self._due.put(due)
        else:
            self._figures.failed(Code.OVERLOADED)

    def _call(self) -> None:
        while not self._is_over:
            try:
                with self._connect() as send:
                    self._send_all(send)
            except LabError as error:  # there is nobody to connect to
                if self._due.get() is not None:
                    self._figures.failed(error.code)

    def _send_all(self, send: Send) -> None:
        while (due := self._due.get()) is not None and not self._is_over:
            with self._lock:
                self._under_way += 1
            try:
                send()
                self._figures.answered(due)
            except LabError as error:
                self._figures.failed(error.code)
            finally:
                with self._lock:
                    self._under_way -= 1
