"""What a filter node does with a text but censoring: declared work, a user's function, a fault on purpose."""

import importlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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


def is_suspended() -> bool:
    """Tell whether what is worked on now is a canary."""
    return _is_suspended


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
    except Exception as error:  # the module is the user's: whatever it raises, it cannot be used
        raise ValueError(f"{name} cannot be loaded: {error}") from error
    if not callable(handler):
        raise ValueError(f"{name} is not a function")

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
