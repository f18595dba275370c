"""Simulated workers that start."""

import statistics
from collections import deque

from dynamic.samples import KEPT_STARTS


class Starts:
    """Workers that are not ready yet, and how long the last ones took that are."""

    def __init__(self) -> None:
        self.ready_at: list[float] = []
        """When each of them is, in seconds."""
        self._begun_at: list[float] = []
        self._took: deque[float] = deque(maxlen=KEPT_STARTS)

    def begin(self, now: float, ready: float) -> None:
        """Let a worker start *now* that takes messages from *ready* on."""
        self._begun_at.append(now)
        self.ready_at.append(ready)

    def look(self, now: float) -> None:
        """Regard those as started that are ready by *now*."""
        pairs = list(zip(self._begun_at, self.ready_at, strict=True))
        self._took.extend(ready - begun for begun, ready in pairs if ready <= now)
        left = [pair for pair in pairs if pair[1] > now]
        self._begun_at, self.ready_at = [begun for begun, _ in left], [ready for _, ready in left]

    def gave_up(self, ready: float) -> bool:
        """Forget a worker that would have been ready then; false if there is none."""
        if ready not in self.ready_at:
            return False
        place = self.ready_at.index(ready)
        del self._begun_at[place], self.ready_at[place]
        return True

    def median(self, otherwise: float) -> float:
        """Return the median of what the last starts took; *otherwise* if there was none."""
        return statistics.median(self._took) if self._took else otherwise
