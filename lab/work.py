"""What a node does for a request but censoring: declared work, a user's function, a fault on purpose.

What ``lab watch`` shares with the nodes that it watches is here, too: how much each served, and the work
time. These are small files of one folder. A node maps them into its memory. ``LAB_LIVE`` names the folder.
A node writes a count into the file of its process id. It reads the seconds of work before each text.
"""

import importlib
import inspect
import mmap
import os
import signal
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Self

from lab.settings import settings

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


def load_handler(name: str) -> Callable[[str], str]:
    """Return the function *name*, ``module:function``, of a text, wrapped: what it returns must be text.

    ValueError says in a sentence what is wrong with *name*.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise ValueError(f"{name!r} is not a function; write module:function, such as my_work:shorten")
    try:
        handler = getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:  # the module is the user's: whatever it raises
        raise ValueError(f"{name} cannot be loaded: {error}") from error
    if not callable(handler):
        raise ValueError(f"{name} is not a function")
    try:
        inspect.signature(handler).bind("a text")
    except TypeError as error:
        raise ValueError(f"{name} cannot be called with one text: {error}") from error
    except ValueError:  # one in C that does not tell
        pass

    def handle(text: str) -> str:
        answer = handler(text)
        if not isinstance(answer, str):
            raise TypeError(f"{name} returned {type(answer).__name__}; it must return text")
        return answer

    return handle


def fault_hook() -> Callable[[str], None] | None:
    """Return what to call with each text before it is worked on; None where nobody asks for it.

    The fault lab needs it. ``LAB_POISON`` is a word: a node that begins to work on a text with it is
    killed at once. No handler runs, and nothing is acknowledged, as when the kernel runs out of memory.

    ``LAB_WORKED`` is a file. A node appends the first word of each text to it before it works on it.
    So a text that was worked on twice, with one effect, can be told from a text that was worked on once.
    """
    poison, path = settings().poison, settings().worked
    if not poison and not path:
        return None
    worked = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if path else -1

    def note(text: str) -> None:
        if worked >= 0:  # one write of a short line: it is whole, even if others append or we are killed
            os.write(worked, f"{text.partition(' ')[0]}\n".encode())
        if poison and poison in text:
            os.kill(os.getpid(), signal.SIGKILL)

    return note


_WORK = "work"


def request_counter() -> Callable[[], None] | None:
    """Return what a node calls for each request that it begins; None where nobody watches."""
    if not settings().live:
        return None
    path = Path(settings().live, str(os.getpid()))
    path.write_bytes(bytes(8))
    shared, numbers = _mapped(path).cast("q"), count(1)

    def note() -> None:
        if not _is_suspended:  # the canary is no request
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
