"""A point in time that several steps share."""

import time

MOST_OF_IT = 0.8
"""The part of the time to drain that a node plans with: its process must have ended when that is over."""


class Deadline:
    """*seconds* from now."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left; at least a tenth, so that a step can still be asked for."""
        return max(0.1, self._at - time.monotonic())
