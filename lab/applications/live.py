"""What ``lab watch`` shares with the nodes that it watches: how much each served, and the work time.

These are small files of one folder. A node maps them into its memory. ``LAB_LIVE`` names the folder. A node
writes a count into the file of its process id. It reads the seconds of work before each text.
"""

import mmap
import os
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Self

from lab.settings import settings
from lab.work import Work, is_suspended

_WORK = "work"


def request_counter() -> Callable[[], None] | None:
    """Return what a node calls for each request that it begins; None where nobody watches."""
    if not settings().live:
        return None
    path = Path(settings().live, str(os.getpid()))
    path.write_bytes(bytes(8))
    shared, numbers = _mapped(path).cast("q"), count(1)

    def note() -> None:
        if not is_suspended():  # the canary is no request
            shared[0] = next(numbers)

    return note


def live_work(declared: Work) -> Work:
    """Return *declared*, or work whose waiting time a watcher changes while it runs."""
    if not settings().live:
        return declared
    return _LiveWork(
        declared.wait_seconds, declared.cpu_seconds, _mapped(Path(settings().live, _WORK)).cast("d")
    )


@dataclass(frozen=True, slots=True)
class _LiveWork(Work):
    shared: "memoryview[float] | None" = None

    @property
    def is_none(self) -> bool:
        return False  # it may come

    def perform(self) -> None:
        waiting = self.shared[0] if self.shared else self.wait_seconds
        Work(waiting, self.cpu_seconds).perform()


class Live:
    """The watcher's side; a context manager. The nodes that start while it is open share it."""

    def __init__(self, work_seconds: float) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lab-live-")
        self.work_seconds = work_seconds

    @property
    def work_seconds(self) -> float:
        """How long each text waits from now on."""
        return self._work_seconds

    @work_seconds.setter
    def work_seconds(self, seconds: float) -> None:
        self._work_seconds = seconds
        path = Path(self._folder.name, _WORK)
        path.touch()
        with path.open("r+b") as file:  # the same file: nodes have mapped it
            file.write(struct.pack("d", seconds))

    def served(self, pid: int) -> int | None:
        """Return how many requests the node *pid* began; None: it is no node, or counts nothing yet."""
        try:
            return int(struct.unpack("q", Path(self._folder.name, str(pid)).read_bytes())[0])
        except (OSError, struct.error):
            return None

    def __enter__(self) -> Self:
        os.environ["LAB_LIVE"] = self._folder.name
        return self

    def __exit__(self, *exception: object) -> None:
        os.environ.pop("LAB_LIVE", None)
        self._folder.cleanup()


def _mapped(path: Path) -> memoryview:
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 8))
