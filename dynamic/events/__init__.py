"""Events: what publishers send to a fanout exchange, which copies each to Work_queue and Count_queue.

Controller, workers and publishers each declare and bind all of it, and repeat that when something was
deleted. So the order of the starts does not matter, and what is deleted by hand soon exists again."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

from pika import DeliveryMode
from pika.channel import Channel
from pika.spec import BasicProperties

from lab.brokers import redacted
from lab.errors import Overloaded, Unavailable
from rabbitmq.tuned.connection import Connection
from rabbitmq.tuned.wire import Message, Names, arguments_of, declare_retries, retry_of

MOST_COUNTED = 1_000_000
"""Copies that Count_queue keeps: many more than come between two readings, so that none is missed."""
EXPIRY_MS = 3_600_000
"""Count_queue is deleted an hour after the last controller, worker or publisher declared it."""
COUNT_ARGUMENTS: Mapping[str, object] = {
    "x-queue-type": "classic",
    "x-max-length": MOST_COUNTED,
    "x-overflow": "drop-head",
    "x-expires": EXPIRY_MS,
}

PLANNED = "planned_ns"
"""Header: when the event was due, nanoseconds of the monotonic clock of the host in CLOCK."""
CLOCK = "clock"
"""Header: which clock that is. Clocks of different hosts are never subtracted."""


class EventNames(Names):
    """Names.work is Work_queue; :attr:`count` is Count_queue, :attr:`events` the exchange before both."""

    def __init__(self, namespace: str) -> None:
        super().__init__(namespace, work="Work_queue")
        self.events = f"{namespace}.events"
        self.count = f"{namespace}.Count_queue"
        self.controller = f"{namespace}.controller"
        """An exclusive queue that the one controller holds."""
        self.done = f"{namespace}.done"
        """The queue of answers to an experiment's events."""

    @property
    def requests(self) -> tuple[str, ...]:
        return (self.work,)

    @property
    def retried(self) -> tuple[str, ...]:
        return (self.work,)

    def bind(self, channel: Channel) -> None:
        """Declare the exchange and Count_queue, and bind both queues; Work_queue must be declared."""
        channel.exchange_declare(self.events, "fanout", durable=True)
        channel.queue_declare(self.count, durable=True, arguments=dict(COUNT_ARGUMENTS))
        for queue in (self.work, self.count):
            channel.queue_bind(queue, self.events)


def declare_events(channel: Channel, names: EventNames, queue_type: str, then: Callable[[int], None]) -> None:
    """Declare and bind all that events need, then call *then* with the number of events that wait.

    It changes nothing that is there. Those that were delivered before and wait for another try count too.
    """
    waiting = 0

    def count(frame: Any) -> None:
        nonlocal waiting
        waiting += frame.method.message_count

    def all_there(frame: Any) -> None:
        count(frame)
        then(waiting)

    declare_retries(channel, [names.work], queue_type, lambda: None)
    channel.queue_declare(names.work, durable=True, arguments=arguments_of(queue_type), callback=count)
    names.bind(channel)
    retries = retry_of(names.work)
    channel.queue_declare(retries, durable=True, arguments=arguments_of(queue_type), callback=all_there)


def event(names: EventNames, text: str, event_id: str, due_ns: int, reply_to: str = "") -> Message:
    """Return the event that a publisher sends: a text to filter, due at *due_ns* of the monotonic clock."""
    properties = BasicProperties(
        message_id=event_id,
        correlation_id=event_id if reply_to else None,
        reply_to=reply_to or None,
        headers={PLANNED: due_ns, CLOCK: clock()},
        delivery_mode=DeliveryMode.Persistent.value,
    )
    return Message("", text.encode(), properties, names.events)


def planned_ns(properties: BasicProperties) -> int:
    """Return when an event was due, by this host's monotonic clock; 0 if it does not say so, or another's."""
    headers = properties.headers or {}
    due_ns = headers.get(PLANNED)
    return due_ns if isinstance(due_ns, int) and headers.get(CLOCK) == clock() else 0


@cache
def clock() -> str:
    """Return which clock time.monotonic_ns() reads here: the kernel's name for this boot of this host."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # not Linux: no other clock is known to be the same
        return ""


ANSWER_SECONDS = 3.0
TAKE_OVER_SECONDS = 2.0
"""How long a new controller waits for the broker to notice that the one before it was killed."""

Then = Callable[[Any], None]
Request = Callable[[Channel, Then], None]


class Count(NamedTuple):
    """What the queues said at one reading."""

    waiting: int
    """Events that wait for a worker. RabbitMQ does not tell how many are in flight."""
    arrivals: int | None
    """Events that came since the last count; None: a count was lost, and counting begins anew now."""


class EventQueues:
    """A connection of the controller. It opens again by itself when it broke.

    *controls*: hold the namespace as its one controller; Overloaded at the start if another one does.
    Unavailable where RabbitMQ does not answer in time, InvalidRequest at the start where a queue or exchange
    of that name is of another kind.
    """

    def __init__(self, url: str, names: EventNames, queue_type: str, controls: bool = False) -> None:
        self._url = url
        self._names = names
        self._queue_type = queue_type
        self._controls = controls
        self._channel: Channel | None = None
        self._asked: Future[Any] | None = None
        self._arrived = 0
        self._is_count_lost = False
        self._connection = Connection(url, self._set_up, self._lost)

    def __enter__(self) -> Self:
        deadline = time.monotonic() + TAKE_OVER_SECONDS
        while True:
            try:
                self._connection.start()
            except Unavailable as error:
                if "RESOURCE_LOCKED" not in error.message:
                    raise
                if time.monotonic() > deadline:
                    message = "another controller scales the workers of this namespace; stop it first"
                    raise Overloaded(message) from error
                time.sleep(TAKE_OVER_SECONDS / 20)
                self._connection = Connection(self._url, self._set_up, self._lost)
            else:
                return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    def read(self) -> Count:
        """Count what waits and what arrived, and restore queues and exchange if they were deleted.

        The purge counts what it deletes. A purge that answers too late is counted by the next call.
        """

        def ask(channel: Channel, then: Then) -> None:
            declare_events(
                channel, self._names, self._queue_type, lambda waiting: purge(channel, waiting, then)
            )

        def purge(channel: Channel, waiting: int, then: Then) -> None:
            def counted(frame: Any) -> None:
                self._arrived += frame.method.message_count
                then(waiting)

            channel.queue_purge(self._names.count, callback=counted)

        waiting = self._ask(ask)
        arrived, self._arrived = self._arrived, 0  # no request is under way, so no other thread writes it now
        was_lost, self._is_count_lost = self._is_count_lost, False
        return Count(waiting, None if was_lost else arrived)

    def delete(self) -> None:
        """Delete the queues and exchanges of the namespace."""
        names = self._names
        for queue in (*names.queues, names.count, names.done):
            self._ask(_without(queue))
        for exchange in (names.events, names.broadcast):
            self._ask(_without_exchange(exchange))

    def _ask(self, request: Request) -> Any:
        """Return the broker's answer to *request*."""
        if self._asked and not self._asked.done():
            raise self._unavailable("has not answered the last request yet")
        answer = self._asked = Future[Any]()

        def ask() -> None:
            if self._channel is None or not self._channel.is_open:
                refuse()
            else:
                request(self._channel, answered)

        def answered(frame: object) -> None:
            with suppress(InvalidStateError):  # the connection was lost, or the sender no longer waits
                answer.set_result(frame)

        def refuse() -> None:
            with suppress(InvalidStateError):
                answer.set_exception(self._unavailable("is not connected"))

        if not self._connection.call(ask):
            refuse()
        try:
            return answer.result(ANSWER_SECONDS)
        except TimeoutError as error:
            raise self._unavailable(f"did not answer in {ANSWER_SECONDS:g} s") from error

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(f"RabbitMQ at {redacted(self._url)} {why}")

    # In the I/O thread.

    def _set_up(self, connection: Connection) -> None:
        connection.open_channel(self._declare)

    def _declare(self, channel: Channel) -> None:
        def ready(_: int) -> None:
            self._channel = channel
            self._connection.ready()

        if self._controls:
            channel.queue_declare(self._names.controller, exclusive=True)
        declare_events(channel, self._names, self._queue_type, ready)

    def _lost(self) -> None:
        self._channel = None
        if self._asked:
            with suppress(InvalidStateError):  # it is answered
                self._asked.set_exception(self._unavailable("closed the connection"))
                self._is_count_lost = True  # the purge may have been done, and its answer is gone


def _without(queue: str) -> Request:
    return lambda channel, then: channel.queue_delete(queue, callback=then)


def _without_exchange(exchange: str) -> Request:
    return lambda channel, then: channel.exchange_delete(exchange, callback=then)
