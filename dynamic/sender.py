"""Send events and know which the broker keeps: confirmed asynchronously, sent again if need be."""

import threading
import time
from itertools import takewhile
from types import TracebackType
from typing import Self

from pika.channel import Channel
from pika.spec import Basic

from dynamic.events import EventNames, event
from lab.errors import Overloaded
from lab.settings import settings
from rabbitmq.transport import Link, Message, declare_queues

MOST_UNCONFIRMED = 100_000
"""Events kept for the time that the broker is away or slow; beyond, sending is refused."""


class EventSender:
    """Publishes to the events' exchange; safe to call from one thread beside its own.

    At least once: what was not confirmed before a connection broke is sent again under the same id.
    """

    def __init__(self, url: str, names: EventNames, queue_type: str = "") -> None:
        self._names = names
        self._queue_type = queue_type or settings().queue_type
        self._waiting: dict[str, Message] = {}
        """Not confirmed, by event id, in the order in which they were sent."""
        self._by_tag: dict[int, str] = {}
        self._sent: set[str] = set()
        """Those of them that are on their way on the present connection."""
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._published = 0
        self.confirmed = 0
        """Events that the broker keeps for sure."""
        self._link = Link(url, self._set_up, self._lost)
        self._link.start()

    @property
    def unconfirmed(self) -> int:
        """Events sent, or kept to be sent, of which the broker has not said that it keeps them."""
        return len(self._waiting)

    def send(self, text: str, event_id: str, due_ns: int, reply_to: str = "") -> None:
        """Send an event; Overloaded if too many wait already: the broker is away or takes no more."""
        if len(self._waiting) >= MOST_UNCONFIRMED:
            raise Overloaded(f"{MOST_UNCONFIRMED} events are not confirmed; RabbitMQ takes no more now")
        message = event(self._names, text, event_id, due_ns, reply_to)
        with self._lock:
            self._waiting[event_id] = message
        self._link.call(lambda: self._publish(event_id, message))

    def settle(self, timeout_seconds: float) -> bool:
        """Wait until everything is confirmed; False if that takes longer."""
        deadline = time.monotonic() + timeout_seconds
        while self._waiting and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self._waiting

    def close(self) -> None:
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # In the I/O thread.

    def _publish(self, event_id: str, message: Message) -> None:
        channel = self._channel
        if channel is None or not channel.is_open:  # it is sent when there is a connection again
            return
        if event_id in self._sent or event_id not in self._waiting:  # a new connection was faster than we
            return
        channel.basic_publish(message.exchange, message.routing_key, message.body, message.properties)
        self._sent.add(event_id)
        self._published += 1
        self._by_tag[self._published] = event_id

    def _set_up(self, link: Link) -> None:
        link.open_channel(self._declare)

    def _declare(self, channel: Channel) -> None:
        names = self._names

        def declared() -> None:
            channel.queue_bind(names.work, names.events)
            channel.confirm_delivery(self._confirmed, callback=lambda _: self._ready(channel))

        # The controller declares Count_queue; before there is one, nobody counts, but nothing is lost.
        channel.exchange_declare(names.events, "fanout", durable=True)
        declare_queues(channel, [names.work], self._queue_type, declared)

    def _ready(self, channel: Channel) -> None:
        self._channel, self._published = channel, 0
        with self._lock:
            again = list(self._waiting.items())
        for event_id, message in again:
            self._publish(event_id, message)
        self._link.ready()

    def _confirmed(self, frame: object) -> None:
        method = frame.method  # type: ignore[attr-defined]
        tags = [method.delivery_tag]
        if method.multiple:
            tags = list(takewhile(lambda tag: tag <= method.delivery_tag, self._by_tag))
        for tag in tags:
            self._settled(self._by_tag.pop(tag, ""), is_kept=isinstance(method, Basic.Ack))

    def _settled(self, event_id: str, *, is_kept: bool) -> None:
        message = self._waiting.get(event_id)
        if message is None:
            return
        self._sent.discard(event_id)
        if not is_kept:
            self._publish(event_id, message)
            return
        with self._lock:
            del self._waiting[event_id]
        self.confirmed += 1

    def _lost(self) -> None:
        self._channel = None
        self._by_tag.clear()
        self._sent.clear()
