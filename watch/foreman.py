"""Runs in the main thread what others ask for: processes end with the thread that started them."""

import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NoReturn, TypeVar

from lab.errors import DeadlineExceeded, LabError, Overloaded, Unavailable

MOST_WAITING = 8
PATIENCE_SECONDS = 90.0
"""For all that waits before it, and a process that does not get ready."""

Answer = TypeVar("Answer")


class Foreman:
    """Takes tasks from any thread and does them one after the other, in the one that calls :meth:`work`."""

    def __init__(self) -> None:
        self._tasks: queue.Queue[tuple[Future[Any], Callable[[], Any]]] = queue.Queue(MOST_WAITING)
        self._is_over = False

    def run(self, task: Callable[[], Answer]) -> Answer:
        """Return what *task* returns, or raise its LabError; Overloaded if too many wait already."""
        answer: Future[Answer] = Future()
        try:
            self._tasks.put_nowait((answer, task))
        except queue.Full:
            message = f"{MOST_WAITING} wishes about processes wait already; see what becomes of them first"
            raise Overloaded(message) from None
        if self._is_over:
            self.close()
        try:
            return answer.result(PATIENCE_SECONDS)
        except TimeoutError as error:
            raise DeadlineExceeded(f"not done after {PATIENCE_SECONDS:g} s; it still may be") from error

    def work(self) -> NoReturn:
        """Do what is asked for, until a signal ends it."""
        while True:
            self._do(*self._tasks.get())

    def close(self) -> None:
        """Refuse what waits and what still comes."""
        self._is_over = True
        while not self._tasks.empty():
            self._tasks.get()[0].set_exception(Unavailable("the lab is ending"))

    def _do(self, answer: Future[Any], task: Callable[[], Any]) -> None:
        try:
            answer.set_result(task())
        except LabError as error:
            answer.set_exception(error)
        except BaseException:
            answer.set_exception(Unavailable("the lab is ending"))
            raise
