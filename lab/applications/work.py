"""The declared work per text: what a real filter would spend waiting or computing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_is_suspended = False


@dataclass(frozen=True, slots=True)
class Work:
    """*wait_seconds* sleeps, standing for I/O; *cpu_seconds* spins, standing for computation."""

    wait_seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def is_none(self) -> bool:
        """Tell whether there is nothing to perform."""
        return not (self.wait_seconds or self.cpu_seconds)

    def perform(self) -> None:
        """Spend the declared work. Spinning counts this thread's CPU time, so a busy machine takes longer."""
        if _is_suspended:
            return
        if self.wait_seconds:
            time.sleep(self.wait_seconds)
        if self.cpu_seconds:
            end = time.thread_time() + self.cpu_seconds
            while time.thread_time() < end:
                pass


@contextmanager
def without_declared_work() -> Iterator[None]:
    """Spend no work in this process meanwhile. A canary proves that a node serves, not how slow it is."""
    global _is_suspended
    _is_suspended = True
    try:
        yield
    finally:
        _is_suspended = False
