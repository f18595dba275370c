"""Wait for what must become true, instead of sleeping for a guessed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T], within: float = 10.0, every: float = 0.02) -> T:
    """Return the first truthy value of *check*, called again and again for up to *within* seconds.

    An AssertionError counts as not yet; the last one is raised when the time is over.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            value = check()
            if value:
                return value
            failure = AssertionError(f"still {value!r} after {within:g} s")
        except AssertionError as error:
            failure = error
        if time.monotonic() >= deadline:
            raise failure
        time.sleep(every)
