"""Run the tasks of other threads in the main thread: a process ends with the thread that started it."""

import logging
import queue
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from lab.errors import DeadlineExceeded, InternalError, LabError, Overloaded, Unavailable
from lab.operations import new_operation_id

MOST_WAITING = 8
TIMEOUT_SECONDS = 90.0
"""Enough for the tasks that wait before, and for a process that never gets ready."""

Answer = TypeVar("Answer")
log = logging.getLogger(__name__)


class MainThreadExecutor:
    """Takes tasks from any thread. Runs them one after the other in the thread that calls :meth:`work`."""

    def __init__(self) -> None:
        self._tasks: queue.Queue[tuple[Future[Any], Callable[[], Any]]] = queue.Queue(MOST_WAITING)
        self._running: Future[Any] | None = None
        self._is_over = False

    def run(self, task: Callable[[], Answer]) -> Answer:
        """Return what *task* returns, or raise its LabError; Overloaded if too many wait already.

        InternalError for any other exception of *task*; its traceback stands in the log.
        """
        answer: Future[Answer] = Future()
        try:
            self._tasks.put_nowait((answer, task))
        except queue.Full:
            message = f"{MOST_WAITING} tasks about processes wait already; try again when they are done"
            raise Overloaded(message) from None
        if self._is_over:
            self.close()
        try:
            return answer.result(TIMEOUT_SECONDS)
        except TimeoutError as error:
            raise DeadlineExceeded(f"not done after {TIMEOUT_SECONDS:g} s; it still may be") from error

    def work(self) -> NoReturn:
        """Run tasks until a signal interrupts it."""
        while True:
            self._running, task = self._tasks.get()
            self._do(self._running, task)
            self._running = None

    def close(self) -> None:
        """Refuse the tasks that wait and those that still come. Safe to call again, from any thread."""
        self._is_over = True
        over = Unavailable("the lab is ending")
        if self._running:  # a signal ended work()
            _settle(self._running, error=over)
        while True:
            try:
                answer, _ = (
                    self._tasks.get_nowait()
                )  # not after a look at empty(): another closer may be faster
            except queue.Empty:
                return
            _settle(answer, error=over)

    def _do(self, answer: Future[Any], task: Callable[[], Any]) -> None:
        try:
            _settle(answer, task())
        except LabError as error:
            _settle(answer, error=error)
        except Exception:
            failed = InternalError(new_operation_id())
            log.exception("a task failed, error %s", failed.error_id)
            _settle(answer, error=failed)
        except BaseException:  # a signal: all ends
            _settle(answer, error=Unavailable("the lab is ending"))
            raise


def _settle(answer: Future[Any], value: object = None, error: LabError | None = None) -> None:
    """Give *answer* its value or error, unless another thread was faster."""
    with suppress(InvalidStateError):
        if error:
            answer.set_exception(error)
        else:
            answer.set_result(value)
