"""The operations of both applications as a client calls them, and the receiving end of a broadcast.

Every argument is checked here, before anything is sent: the same error on every wire.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TypeVar, cast

from lab.background import heartbeat
from lab.client.connection import after_fork
from lab.client.retry import wait_for_result
from lab.contract import Closing, ResultPage, Tick
from lab.errors import LabError, Unavailable
from lab.limits import MAX_BATCH, MAX_PAGE, SUBSCRIPTION_RENEWAL_SECONDS
from lab.operations import Operation, page_from_plain
from lab.validation import (
    clean_after,
    clean_in_flight,
    clean_insult,
    clean_limit,
    clean_operation_id,
    clean_text,
    clean_texts,
    clean_timeout,
)

MAX_BATCH_CHARACTERS = 64 * 1024
"""A text may grow up to five times when it is escaped for the wire, and nine times when it is censored."""


PORTIONS = 20
Item = TypeVar("Item")


def kept_under_way(
    items: Iterator[Item], in_flight: int, send: Callable[[list[Item]], list[str]]
) -> Iterator[str]:
    """Yield the ids of *items*, whose answers are awaited in this order, while *in_flight* of them are sent.

    Each time a twentieth of them is answered, *send* gets as many more, and returns their ids.
    """
    under_way: deque[str] = deque()
    while more := list(islice(items, in_flight - len(under_way))):
        under_way.extend(send(more))
        for _ in range(min(max(1, in_flight // PORTIONS), len(under_way))):
            yield under_way.popleft()
    yield from under_way


class Calls(Closing, ABC):
    """What every client does: perform operations, and close."""

    @abstractmethod
    def perform(self, operation: Operation, *arguments: object, deadline_seconds: float = 0.0) -> object:
        """Return the answer to *operation*; raise the LabError that it is.

        *deadline_seconds* is for this call; 0 stands for the client's own. Stock clients keep their own.
        """

    @abstractmethod
    def close(self) -> None:
        """Free connections. A second call does nothing."""


class ServiceCalls(Calls):
    """The methods of :class:`~lab.contract.InsultService`, each one operation; subscribing is each wire's."""

    def add_insult(self, insult: str) -> bool:
        return bool(self.perform(Operation.ADD_INSULT, clean_insult(insult)))

    def remove_insult(self, insult: str) -> bool:
        return bool(self.perform(Operation.REMOVE_INSULT, clean_insult(insult)))

    def get_insults(self, after: str = "", limit: int = MAX_PAGE) -> list[str]:
        return cast(list[str], self.perform(Operation.GET_INSULTS, clean_after(after), clean_limit(limit)))

    def insult_me(self) -> str:
        return str(self.perform(Operation.INSULT_ME))

    def start_broadcast(self) -> bool:
        return bool(self.perform(Operation.START_BROADCAST))

    def stop_broadcast(self) -> bool:
        return bool(self.perform(Operation.STOP_BROADCAST))


class FilterCalls(Calls):
    """The methods of :class:`~lab.contract.InsultFilter`; how many texts travel at once is each wire's."""

    @abstractmethod
    def _filter_checked(self, texts: Iterator[str], in_flight: int) -> Iterator[str]:
        """Yield the filtered *texts*, which are checked, in their order; *in_flight* of them under way."""

    def filter(self, text: str) -> str:
        return str(self.perform(Operation.FILTER, clean_text(text)))

    def filter_many(self, texts: Iterable[str], in_flight: int = 100) -> Iterator[str]:
        checked, most = clean_texts(texts), clean_in_flight(in_flight)
        return self._filter_checked(checked, most)

    def submit(self, text: str) -> str:
        return cast(str, self.perform(Operation.SUBMIT, clean_text(text)))

    def result(self, petition_id: str, timeout: float) -> str:
        checked, seconds = clean_operation_id(petition_id), clean_timeout(timeout)

        def ask(left: float) -> str:
            return cast(str, self.perform(Operation.RESULT, checked, deadline_seconds=left))

        return wait_for_result(ask, checked, seconds)

    def get_results(self, limit: int = MAX_PAGE) -> ResultPage:
        return page_from_plain(self.perform(Operation.GET_RESULTS, clean_limit(limit)))

    def resolve(self) -> str | None:
        return cast("str | None", self.perform(Operation.RESOLVE))


class DirectFilterCalls(FilterCalls):
    """The same over a direct middleware: concurrent calls in place of a pipeline, and batches."""

    @abstractmethod
    def _another(self) -> "DirectFilterCalls":
        """Return a client of the same system, with a connection of its own."""

    @abstractmethod
    def _filtered(self, texts: list[str]) -> list[str]:
        """Return *texts*, which are checked, filtered in one request."""

    def filter_batch(self, texts: Iterable[str]) -> list[str]:
        """Filter all *texts*, as many in one request as fit: up to 1,000, or 64 Ki characters."""
        return [text for batch in batches(clean_texts(texts), MAX_BATCH) for text in self._filtered(batch)]

    def _filter_checked(self, texts: Iterator[str], in_flight: int) -> Iterator[str]:
        idle: SimpleQueue[DirectFilterCalls] = SimpleQueue()
        with ExitStack() as opened:

            def filter_one(text: str) -> str:
                try:
                    client = idle.get_nowait()
                except Empty:
                    client = self._another()
                    opened.callback(client.close)
                try:
                    return cast(str, client.perform(Operation.FILTER, text))
                finally:
                    idle.put(client)

            yield from concurrently(filter_one, texts, in_flight)


def concurrently(filter_one: Callable[[str], str], texts: Iterable[str], in_flight: int) -> Iterator[str]:
    """Yield the filtered *texts* in their order, with *in_flight* calls under way in threads of their own."""
    with ThreadPoolExecutor(in_flight) as pool:
        waiting: deque[Future[str]] = deque()
        for text in texts:
            waiting.append(pool.submit(filter_one, text))
            if len(waiting) == in_flight:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def batches(texts: Iterable[str], most: int) -> Iterator[list[str]]:
    """Yield lists of up to *most* texts and 64 Ki characters, at least one text each."""
    batch: list[str] = []
    size = 0
    for text in texts:
        size += len(text)
        if batch and (len(batch) == most or size > MAX_BATCH_CHARACTERS):
            yield batch
            batch, size = [], len(text)
        batch.append(text)
    if batch:
        yield batch


MISSED_AT_MOST = 10_000
"""How many missed numbers are named, the newest: 14 hours of ticks. It bounds the cost of a false number."""


class Inbox(Closing):
    """A :class:`~lab.contract.Subscription` fed by :meth:`deliver`.

    *leave* ends the subscription at its source; *renew*, where leases are used, is called every 3 s. It
    returns True where the source knew nothing of the subscription: if it lost its state, and with it the
    number of the last tick, the next tick begins a new count.
    """

    def __init__(self, leave: Callable[[], None], renew: Callable[[], object] | None = None) -> None:
        self._ticks: SimpleQueue[Tick | None] = SimpleQueue()
        self._leave = leave
        self._last = 0
        self._was_forgotten = False
        self._closed = False
        self._is_refused = False
        self._renew = renew
        self._renewal = heartbeat("subscription", SUBSCRIPTION_RENEWAL_SECONDS, self._beat) if renew else None
        if self._renewal:
            self._renewal.start()
        after_fork(self)

    def forked(self) -> None:
        """Refuse in a forked process, where nothing arrives: the threads that receive do not exist there."""
        self._is_refused = not self._closed
        self._closed = True
        self._ticks = SimpleQueue()
        self._ticks.put(None)

    def deliver(self, number: int, insult: str) -> None:
        """Take the tick *number*. One that came before, or an older one, is dropped."""
        is_older = number <= self._last
        if self._closed or (is_older and not self._was_forgotten):
            return
        first_missed = max(self._last + 1, number - MISSED_AT_MOST)
        missed = () if is_older or not self._last else tuple(range(first_missed, number))
        self._last = number
        self._was_forgotten = False
        self._ticks.put(Tick(number, insult, missed))

    def receive(self, timeout: float) -> Tick | None:
        seconds = clean_timeout(timeout)
        try:
            return self._next(seconds)
        except Empty:
            return None

    def __iter__(self) -> Iterator[Tick]:
        while (tick := self._next(None)) is not None:
            yield tick

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._renewal:
            self._renewal.stop(1.0)
        with suppress(LabError):  # its source is gone, and so is the subscription
            self._leave()
        self._ticks.put(None)

    def _next(self, seconds: float | None) -> Tick | None:
        """Return the next tick, or None once it is closed; wait at most *seconds*, or for ever."""
        tick = self._ticks.get(timeout=seconds)
        if tick is None:
            self._ticks.put(None)  # closed for the next caller too
            if self._is_refused:
                raise Unavailable("this subscription was opened before a fork; open one in the new process")
        return tick

    def _beat(self) -> None:
        if self._renew and self._renew() is True:
            self._was_forgotten = True


def receive_by_callback(
    client: Calls, serve: Callable[[Callable[[int, object], None]], tuple[str, Callable[[], object]]]
) -> Inbox:
    """Subscribe, through *client*, the address at which *serve* starts a server. The inbox then owns both.

    *serve* is given a function that takes a tick's number and insult. It returns the address, and a function
    that stops the server.
    """
    inbox: Inbox | None = None

    def take(number: int, insult: object) -> None:
        checked = clean_insult(insult)
        if inbox:
            inbox.deliver(number, checked)

    address, stop = serve(take)

    def renew() -> object:
        return client.perform(Operation.ADD_SUBSCRIBER, address)

    def leave() -> None:
        with suppress(LabError):
            client.perform(Operation.REMOVE_SUBSCRIBER, address)
        client.close()
        stop()

    try:
        renew()
    except BaseException:
        leave()
        raise
    inbox = Inbox(leave, renew)
    return inbox
