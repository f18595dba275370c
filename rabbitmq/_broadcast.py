"""Broadcast through a fanout exchange: the body is the insult, the tick's number a header."""

from uuid import uuid4

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from lab.client.subscription import Inbox
from lab.contract import Target, Tick

from ._link import Link
from ._queues import declare_broadcast
from ._wire import PERSISTENT, TEXT, Message, Names

MOST_KEPT_TICKS = 100
"""Ticks that wait for a subscriber; the oldest go first, and it is told their numbers."""
EXPIRY_MS = 120_000
"""A subscriber that was away so long finds nothing that was kept."""
PREFETCH = 10
RENEWAL_SECONDS = 2.0
"""A deleted exchange takes the bindings with it, and the broker does not say so to subscribers."""


def announcement(names: Names, tick: Tick) -> Message:
    """Return the message that tells every subscriber of *tick*."""
    properties = BasicProperties(content_type=TEXT, headers={"number": tick.number}, delivery_mode=PERSISTENT)
    return Message("", tick.insult.encode(), properties, exchange=names.broadcast)


def receive_ticks(target: Target) -> Inbox:
    """Bind a queue of its own to the exchange; return once that is done."""
    subscriber = _Subscriber(target)
    inbox = Inbox(subscriber.leave)
    subscriber.inbox = inbox
    subscriber.link.start()
    return inbox


class _Subscriber:
    """Consumes a queue that outlives its connection: a subscriber that was cut off or frozen catches up.

    A tick is acknowledged when it is here. One that comes again is dropped by the inbox, by its number.
    """

    def __init__(self, target: Target) -> None:
        self._names = Names(target.namespace)
        self._queue = f"{self._names.subscriber}-{uuid4().hex[:12]}"
        self._channel: Channel | None = None
        self.link = Link(target.address, lambda link: link.open_channel(self._declare), self._lost)
        self.inbox: Inbox | None = None

    def leave(self) -> None:
        """Delete the queue and close the connection."""
        self.link.call(self._delete)
        self.link.close()

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
            self.link.ready()
            self.link.later(RENEWAL_SECONDS, self._renew)

        declare_broadcast(channel, self._names, declare)

    def _renew(self) -> None:
        """Declare the exchange, if it is gone, and bind the queue to it."""
        channel = self._channel
        if channel and channel.is_open:
            declare_broadcast(
                channel, self._names, lambda: channel.queue_bind(self._queue, self._names.broadcast)
            )
            self.link.later(RENEWAL_SECONDS, self._renew)

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
