"""Group commit: callers of several threads share one write."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MOST = 16
"""Items of one write: so many of the longest texts are 1 MiB."""


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
        group = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
        try:
            for entry, answer in zip(group, self._write([each.item for each in group]), strict=True):
                entry.answers.append(answer)
        except Exception as error:  # noqa: BLE001  # every caller raises it
            for entry in group:
                entry.error = error
