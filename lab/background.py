"""Threads of a node: a job that repeats until it is stopped, and callers that share one write."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from lab.errors import LabError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MOST_OF_A_WRITE = 16
"""Items of one write at most. That many of the longest texts are 1 MiB."""
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


class _Entry(Generic[Item, Answer]):
    """An item that waits, and what became of it."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.answers: list[Answer] = []
        self.error: BaseException | None = None


class GroupCommit(Generic[Item, Answer]):
    """Writes items by *write*, which returns the answer to each, in their order.

    Who comes while a write is under way waits for its end. The first then writes for all who wait, so that a
    disk write serves many. Nobody waits for company: an item that comes alone is written at once. If a write
    raises, so does every call whose item it had.
    """

    def __init__(self, write: Callable[[Sequence[Item]], list[Answer]]) -> None:
        self._write = write
        self._waiting: deque[_Entry[Item, Answer]] = deque()
        self._turn = threading.Lock()

    def __call__(self, item: Item) -> Answer:
        """Write *item*; return the answer to it."""
        entry: _Entry[Item, Answer] = _Entry(item)
        self._waiting.append(entry)
        with self._turn:
            while not entry.answers and not entry.error:  # else another wrote it meanwhile
                self._write_some()
        if entry.error:
            raise entry.error
        return entry.answers[0]

    def _write_some(self) -> None:
        group = [self._waiting.popleft() for _ in range(min(MOST_OF_A_WRITE, len(self._waiting)))]
        try:
            for entry, answer in zip(group, self._write([each.item for each in group]), strict=True):
                entry.answers.append(answer)
        except Exception as error:  # noqa: BLE001  # every caller raises it
            for entry in group:
                entry.error = error
