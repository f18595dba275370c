"""A guarded connection: one call at a time, and no call on a connection whose last reply was not read."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.client.connection import CallGuard
from lab.errors import DeadlineExceeded

SECONDS = 10.0


class Line:
    """A connection that counts how often it was closed."""

    def __init__(self) -> None:
        self.closed = 0
        self.guard = CallGuard(self.close)

    def close(self) -> None:
        self.closed += 1

    def ask(self, answer: object) -> object:
        if isinstance(answer, type) and issubclass(answer, BaseException):
            raise answer
        return answer


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError, TimeoutError, ValueError])
def test_any_exception_closes_the_connection_and_the_next_call_opens_one(kind: type[BaseException]) -> None:
    line = Line()
    with pytest.raises(kind):
        line.guard.call(SECONDS, line.ask, kind)
    assert line.closed == 1
    assert line.guard.call(SECONDS, line.ask, "answer") == "answer"
    assert line.closed == 1


def test_an_interrupt_that_kept_the_connection_from_being_closed_closes_it_before_the_next_call() -> None:
    line = Line()
    line.guard._is_unread = True  # an interrupt may come before any line of the guard
    line.guard.call(SECONDS, line.ask, "answer")
    assert line.closed == 1


def test_a_thread_waits_for_the_other_ones_call_no_longer_than_its_deadline() -> None:
    line = Line()
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> bool:
        begun.set()
        return go_on.wait(SECONDS)

    with ThreadPoolExecutor(1) as threads:
        under_way = threads.submit(line.guard.call, SECONDS, wait)
        assert begun.wait(SECONDS)
        with pytest.raises(DeadlineExceeded, match="another thread"):
            line.guard.call(0.05, line.ask, "answer")
        line.guard.close()
        assert line.closed == 0  # a call is under way on it
        go_on.set()
        assert under_way.result()
    assert line.closed == 1
    assert line.guard.call(SECONDS, line.ask, "answer") == "answer"


def test_a_second_close_does_no_harm() -> None:
    line = Line()
    line.guard.call(SECONDS, line.ask, "answer")
    line.guard.close()
    line.guard.close()
    assert line.guard.call(SECONDS, line.ask, "answer") == "answer"
