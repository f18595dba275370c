"""What became of the requests of the last seconds."""

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from lab.errors import Code

WINDOW_SECONDS = 5.0
"""Of the percentiles: long enough for a p99, short enough to see what a button does."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Since the last reading, but for the percentiles. Rates are per second, times seconds."""

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
