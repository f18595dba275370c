"""The controller's view of the broker: declare the queues, count arrivals, see what waits."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Self

from pika.channel import Channel

from dynamic.events import EventNames
from lab.brokers import redacted
from lab.errors import Unavailable
from rabbitmq.transport import Link, declare_guards, declare_queues, suspect_of

MOST_COUNTED = 1_000_000
"""Copies that Count_queue keeps: far above what comes between two readings, so that none is missed."""
EXPIRY_MS = 3_600_000
"""Count_queue goes an hour after the last controller."""
COUNT_ARGUMENTS: Mapping[str, object] = {
    "x-queue-type": "classic",
    "x-max-length": MOST_COUNTED,
    "x-overflow": "drop-head",
    "x-expires": EXPIRY_MS,
}
ANSWER_SECONDS = 3.0

Then = Callable[[Any], None]
Request = Callable[[Channel, Then], None]


class EventQueues:
    """A connection of the controller, opened again by itself when it broke.

    Unavailable where RabbitMQ does not answer in time, InvalidRequest at the start where a queue or exchange
    of that name is another one.
    """

    def __init__(self, url: str, names: EventNames, queue_type: str) -> None:
        self._url = url
        self._names = names
        self._queue_type = queue_type
        self._channel: Channel | None = None
        self._asked: Future[Any] | None = None
        self._arrived = 0
        self._link = Link(url, self._set_up, self._lost)

    def __enter__(self) -> Self:
        self._link.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._link.close()

    def take_arrivals(self) -> int:
        """Return how many events came since the last call: the purge counts what it deletes.

        What was purged for a call that got no answer in time is counted by the next one.
        """

        def purge(channel: Channel, then: Then) -> None:
            channel.queue_purge(self._names.count, callback=counted(then))

        def counted(then: Then) -> Then:
            def count(frame: Any) -> None:
                self._arrived += frame.method.message_count
                then(frame)

            return count

        self._ask(purge)
        arrived, self._arrived = self._arrived, 0  # nothing else is asked, so nobody writes it now
        self._ask(self._declare_count)  # it expires if nobody does
        return arrived

    def waiting(self) -> int:
        """Return how many events wait, suspects too; a broker does not tell how many are in flight."""
        work = self._names.work
        return sum(self._ask(_passive(queue)).method.message_count for queue in (work, suspect_of(work)))

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

        if not self._link.call(ask):
            refuse()
        try:
            return answer.result(ANSWER_SECONDS)
        except TimeoutError as error:
            raise self._unavailable(f"did not answer in {ANSWER_SECONDS:g} s") from error

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(f"RabbitMQ at {redacted(self._url)} {why}")

    # In the I/O thread.

    def _set_up(self, link: Link) -> None:
        link.open_channel(self._declare)

    def _declare(self, channel: Channel) -> None:
        """Declare both queues behind their exchange, if they are not there."""
        names = self._names

        def ready(_: object) -> None:
            self._channel = channel
            self._link.ready()

        def declared(_: object) -> None:
            channel.queue_bind(names.work, names.events)
            channel.queue_bind(names.count, names.events, callback=ready)

        def guarded() -> None:
            self._declare_count(channel, declared)

        def work() -> None:
            declare_guards(channel, [names.work], self._queue_type, guarded)

        channel.exchange_declare(names.events, "fanout", durable=True)
        declare_queues(channel, [names.work], self._queue_type, work)

    def _declare_count(self, channel: Channel, then: Then) -> None:
        channel.queue_declare(self._names.count, durable=True, arguments=dict(COUNT_ARGUMENTS), callback=then)

    def _lost(self) -> None:
        self._channel = None
        if self._asked:
            with suppress(InvalidStateError):
                self._asked.set_exception(self._unavailable("closed the connection"))


def _passive(queue: str) -> Request:
    return lambda channel, then: channel.queue_declare(queue, passive=True, callback=then)


def _without(queue: str) -> Request:
    return lambda channel, then: channel.queue_delete(queue, callback=then)


def _without_exchange(exchange: str) -> Request:
    return lambda channel, then: channel.exchange_delete(exchange, callback=then)
