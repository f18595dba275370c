"""A job that repeats in the background of a node until it is stopped."""

import logging
import threading
from collections.abc import Callable

from lab.errors import LabError

BACK_OFF_SECONDS = 0.5

log = logging.getLogger(__name__)


class BackgroundJob(threading.Thread):
    """Repeats *step* until stopped; *step* returns how many seconds to wait before the next.

    A step that fails is logged once, until one succeeds again, and repeated after half a second: neither a
    store that is away for a while nor a text that cannot be worked on must end the job.
    """

    def __init__(self, name: str, step: Callable[[], float], wake: threading.Event | None = None) -> None:
        super().__init__(name=name, daemon=True)
        self._step = step
        self._wake = wake or threading.Event()
        self._stopping = False

    def run(self) -> None:
        failing = False
        while not self._stopping:
            self._wake.clear()
            try:
                pause_seconds = self._step()
                failing = False
            except LabError as error:
                if not failing:
                    log.warning("%s: %s; trying again", self.name, error)
                failing, pause_seconds = True, BACK_OFF_SECONDS
            except Exception:
                if not failing:
                    log.exception("%s failed; trying again", self.name)
                failing, pause_seconds = True, BACK_OFF_SECONDS
            if pause_seconds and not self._stopping:  # stop() may have come just before clear()
                self._wake.wait(pause_seconds)

    def stop(self, timeout_seconds: float) -> None:
        """Finish the step that is under way and end; wait at most *timeout_seconds* for that."""
        self._stopping = True
        self._wake.set()
        if self.is_alive() and self is not threading.current_thread():
            self.join(timeout_seconds)


def heartbeat(name: str, interval_seconds: float, beat: Callable[[], object]) -> BackgroundJob:
    """Return the job that calls *beat* every *interval_seconds*, whatever else the process does."""

    def step() -> float:
        beat()
        return interval_seconds

    return BackgroundJob(name, step)
