"""Broadcast through a fanout exchange: the body is the insult, the tick's number a header."""

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from lab.contract import Target, Tick
from lab.subscription import Inbox

from ._link import Link
from ._queues import declare_broadcast
from ._wire import TEXT, Message, Names


def announcement(names: Names, tick: Tick) -> Message:
    """Return the message that tells every subscriber of *tick*."""
    properties = BasicProperties(content_type=TEXT, headers={"number": tick.number})
    return Message("", tick.insult.encode(), properties, exchange=names.broadcast)


def receive_ticks(target: Target) -> Inbox:
    """Bind an exclusive queue to the exchange; return once that is done."""
    subscriber = _Subscriber(target)
    inbox = Inbox(subscriber.link.close)
    subscriber.inbox = inbox
    subscriber.link.start()
    return inbox


class _Subscriber:
    """Binds a new exclusive queue for each new connection; ticks in between are missed, and counted so."""

    def __init__(self, target: Target) -> None:
        self._names = Names(target.namespace)
        self.link = Link(target.address, lambda link: link.open_channel(self._declare), lambda: None)
        self.inbox: Inbox | None = None

    def _declare(self, channel: Channel) -> None:
        def bound(queue: str) -> None:
            channel.basic_consume(queue, self._received, auto_ack=True)
            self.link.ready()

        def declared(frame: object) -> None:
            queue = frame.method.queue  # type: ignore[attr-defined]
            channel.queue_bind(queue, self._names.broadcast, callback=lambda _: bound(queue))

        declare_broadcast(
            channel, self._names, lambda: channel.queue_declare("", exclusive=True, callback=declared)
        )

    def _received(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        number = (properties.headers or {}).get("number")
        if self.inbox and isinstance(number, int):
            self.inbox.deliver(number, body.decode(errors="replace"))
