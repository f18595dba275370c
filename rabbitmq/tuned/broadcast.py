"""The broadcast over a fanout exchange: the body is the insult, and a header is the tick's number."""

from uuid import uuid4

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from lab.client.calls import Inbox
from lab.contract import Target, Tick

from .connection import Connection
from .wire import PERSISTENT, TEXT, Message, Names, declare_broadcast

MOST_KEPT_TICKS = 100
"""Ticks that wait for a subscriber. The oldest are dropped first; the subscriber is told their numbers."""
EXPIRY_MS = 120_000
"""The queue of a subscriber that is away for longer is deleted."""
PREFETCH = 10
RENEWAL_SECONDS = 2.0
"""How often a subscriber binds its queue: the broker does not tell it that the exchange was deleted."""


def announcement(names: Names, tick: Tick) -> Message:
    """Return the message that brings *tick* to the subscribers."""
    properties = BasicProperties(content_type=TEXT, headers={"number": tick.number}, delivery_mode=PERSISTENT)
    return Message("", tick.insult.encode(), properties, exchange=names.broadcast)


def receive_ticks(target: Target) -> Inbox:
    """Subscribe with a new queue; return when it is bound to the exchange."""
    subscriber = _Subscriber(target)
    inbox = Inbox(subscriber.leave)
    subscriber.inbox = inbox
    subscriber.connection.start()
    return inbox


class _Subscriber:
    """Consumes a queue that outlives the connection, so that a subscriber that was away catches up.

    A tick is acknowledged when it arrives. If it comes twice, the inbox drops the second by its number.
    """

    def __init__(self, target: Target) -> None:
        self._names = Names(target.namespace)
        self._queue = f"{self._names.subscriber}-{uuid4().hex[:12]}"
        self._channel: Channel | None = None
        self.connection = Connection(
            target.address, lambda connection: connection.open_channel(self._declare), self._lost
        )
        self.inbox: Inbox | None = None

    def leave(self) -> None:
        """Delete the queue and close the connection."""
        self.connection.call(self._delete)
        self.connection.close()

    # In the I/O thread.

    def _declare(self, channel: Channel) -> None:
        arguments = {"x-queue-type": "classic", "x-max-length": MOST_KEPT_TICKS, "x-expires": EXPIRY_MS}

        def declare(_: object = None) -> None:
            channel.queue_declare(self._queue, durable=True, arguments=arguments, callback=bind)

        def bind(_: object) -> None:
            channel.queue_bind(self._queue, self._names.broadcast, callback=consume)

        def consume(_: object) -> None:
            self._channel = channel
            channel.basic_qos(prefetch_count=PREFETCH)
            channel.basic_consume(self._queue, self._received)
            self.connection.ready()
            self.connection.later(RENEWAL_SECONDS, self._renew)

        declare_broadcast(channel, self._names, declare)

    def _renew(self) -> None:
        """Declare the exchange, if it is gone, and bind the queue to it."""
        channel = self._channel
        if channel and channel.is_open:
            declare_broadcast(
                channel, self._names, lambda: channel.queue_bind(self._queue, self._names.broadcast)
            )
            self.connection.later(RENEWAL_SECONDS, self._renew)

    def _received(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        number = (properties.headers or {}).get("number")
        if self.inbox and isinstance(number, int):
            self.inbox.deliver(number, body.decode(errors="replace"))
        channel.basic_ack(method.delivery_tag)

    def _delete(self) -> None:
        if self._channel and self._channel.is_open:
            self._channel.queue_delete(self._queue)

    def _lost(self) -> None:
        self._channel = None
