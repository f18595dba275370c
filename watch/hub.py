"""The latest samples and events, for every open page, and the tasks of pages that the main thread runs."""

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol, TypeVar

from lab.errors import (
    Code,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    LabError,
    Overloaded,
    Unavailable,
)
from lab.operations import new_operation_id
from lab.validation import clean_string

log = logging.getLogger(__name__)

SAMPLE_SECONDS = 1.0
KEPT_POINTS = 180
KEPT_LINES = 200
MOST_PAGES = 20

Fields = Mapping[str, object]
Action = Callable[[Fields], Mapping[str, object]]
"""What a button does with the fields of its form. It returns at least `said`, or raises a LabError."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample: a point of the charts, the processes, and the other facts that the page shows."""

    point: Mapping[str, float | None]
    rows: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any]


class Watched(Protocol):
    """What a page can show: a system, or dynamic scaling."""

    @property
    def description(self) -> Mapping[str, Any]:
        """Title, tiles, charts and limits, in the form that the page reads."""

    @property
    def actions(self) -> Mapping[str, Action]:
        """The functions of its buttons, by name."""

    def sample(self) -> Sample:
        """Take a sample now."""


@dataclass(slots=True)
class Hub:
    """Keeps the last points and lines; safe to use from any thread."""

    _points: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_POINTS))
    _lines: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    _latest: Sample = field(default_factory=lambda: Sample({}, [], {}))
    _number: int = 0
    _lines_said: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _pages: dict[asyncio.Event, asyncio.AbstractEventLoop] = field(default_factory=dict)
    is_over: bool = False

    def say(self, kind: str, text: str) -> None:
        """Add a line of *kind* "tick", "node" or "fault". The pages get it with the next sample."""
        with self._lock:
            self._lines_said += 1
            line = {"number": self._lines_said, "at": time.time(), "t": time.monotonic()}
            self._lines.append({**line, "kind": kind, "text": text})

    def show(self, sample: Sample) -> None:
        """Show *sample* on every page."""
        with self._lock:
            self._number += 1
            self._latest = sample
            self._points.append({"number": self._number, "t": time.monotonic(), **sample.point})
        self._wake()

    def since(self, number: int, line: int) -> dict[str, Any]:
        """Return what is newer than the point *number* and the *line*; with 0, everything that is kept."""
        with self._lock:
            return {
                "number": self._number,
                "line": self._lines_said,
                "points": [point for point in self._points if point["number"] > number],
                "lines": [one for one in self._lines if one["number"] > line],
                "rows": self._latest.rows,
                "facts": self._latest.facts,
            }

    def join(self) -> asyncio.Event:
        """Register a page; return the event that is set when there is news. Overloaded: too many pages."""
        news = asyncio.Event()
        with self._lock:
            if len(self._pages) >= MOST_PAGES:
                raise Overloaded(f"{MOST_PAGES} pages are open already; close one")
            self._pages[news] = asyncio.get_running_loop()
        return news

    def leave(self, news: asyncio.Event) -> None:
        """Forget a page."""
        with self._lock:
            self._pages.pop(news, None)

    def close(self) -> None:
        """End the stream of every page."""
        self.is_over = True
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            for news, loop in self._pages.items():
                loop.call_soon_threadsafe(news.set)


class Sampler:
    """Samples *watched* once a second in a thread of its own, and shows each sample."""

    def __init__(self, watched: Watched, hub: Hub) -> None:
        self._watched = watched
        self._hub = hub
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        is_over = False
        while not is_over:
            try:
                self._hub.show(self._watched.sample())
            except LabError as error:
                self._hub.say("fault", f"no sample: {error.code}: {error.message}")
            except Exception:
                log.exception("the page goes on")  # without a new sample it says so
            is_over = self._over.wait(SAMPLE_SECONDS)


# The fields of a button's request: each function raises one InvalidRequest.


def given_number(fields: Fields, name: str, most: float) -> float:
    """Return the number *name*, from 0 to *most*."""
    value = _given(fields, name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidRequest(Code.WRONG_TYPE, f"{name} must be a number, got {_kind(value)}")
    if not 0 <= value <= most:  # nor is NaN
        raise InvalidRequest(Code.TOO_LARGE, f"{name} must be from 0 to {most:g}")
    return abs(float(value))  # not -0


def given_whole(fields: Fields, name: str) -> int:
    """Return the whole number *name*."""
    value = _given(fields, name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest(Code.WRONG_TYPE, f"{name} must be a whole number, got {_kind(value)}")
    return value


def given_text(fields: Fields, name: str) -> str:
    """Return the text *name*, as it came."""
    value = _given(fields, name)
    if not isinstance(value, str):
        raise InvalidRequest(Code.WRONG_TYPE, f"{name} must be text, got {_kind(value)}")
    return clean_string(name, value)


def _given(fields: Fields, name: str) -> object:
    if name not in fields:
        raise InvalidRequest(Code.MISSING_FIELD, f"{name} is missing")
    return fields[name]


def _kind(value: object) -> str:
    """Name the type of *value* as JSON does."""
    names = {
        "str": "text",
        "bool": "true or false",
        "NoneType": "null",
        "dict": "an object",
        "list": "a list",
    }
    return names.get(type(value).__name__, "a number with a point")


MOST_WAITING = 8
TIMEOUT_SECONDS = 90.0
"""Enough for the tasks that wait before, and for a process that never gets ready."""

Answer = TypeVar("Answer")


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
            try:  # a signal just before a wait is handled only after it
                self._running, task = self._tasks.get(timeout=1.0)
            except queue.Empty:
                continue
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
                answer, _ = self._tasks.get_nowait()  # empty() would not do: another closer may be faster
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
