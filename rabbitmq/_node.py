"""What the nodes of both applications share: lanes on a link, a canary, a clean end."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from uuid import uuid4

from pika.channel import Channel
from pika.spec import BasicProperties

from lab.brokers.locate import locate_rabbitmq
from lab.errors import DeadlineExceeded, InternalError, Unavailable
from lab.options import NodeOptions
from lab.settings import settings

from ._lane import Lane
from ._link import Link
from ._queues import declare_broadcast, declare_guards, declare_queues
from ._wire import Message, Names, read_reply

CANARY_SECONDS = 10.0
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
"""A pseudo-queue, cheaper to the broker than a real one: https://www.rabbitmq.com/docs/direct-reply-to."""


class QueueServer:
    """Serves *lanes* on one connection; the first also serves a queue of the node's own, for its canary.

    *guarded* are the queues that have suspects and dead letters.
    """

    def __init__(
        self,
        options: NodeOptions,
        lanes: Callable[[Callable[[], Link]], Sequence[Lane]],
        queue_type: str,
        names: Names | None = None,
        guarded: Sequence[str] = (),
    ) -> None:
        self.names = names or Names(options.namespace)
        self._guarded = guarded
        self._queue_type = queue_type or settings().queue_type
        self._own_queue = f"{options.namespace}.node-{uuid4().hex[:8]}"
        self._link = Link(locate_rabbitmq(), self._set_up, self._lost)
        self._lanes = lanes(lambda: self._link)
        self._joined = False
        self._canary: Future[object] = Future()
        self._to_open = 0
        self._publisher: Channel | None = None

    def start(self) -> None:
        """Connect, declare what the namespace needs, serve the node's own queue."""
        self._link.start()

    def canary(self, message: Message) -> None:
        """Send *message* to the node's own queue and wait for the reply."""
        message.properties.reply_to = DIRECT_REPLY_TO
        self._link.call(lambda: self._send_canary(message))
        try:
            answer = self._canary.result(CANARY_SECONDS)
        except TimeoutError as error:
            waited = f"the canary message was not answered in {CANARY_SECONDS:g} s"
            raise DeadlineExceeded(waited) from error
        if isinstance(answer, Unavailable | InternalError):  # no insults: it works
            raise answer

    def join(self) -> None:
        """Begin to take from the shared queues."""
        self._joined = True
        for lane in self._lanes:
            self._link.call(lane.consume)

    def publish(self, message: Message) -> bool:
        """Publish *message*, unconfirmed; False if there is no connection just now."""
        channel = self._publisher
        return channel is not None and self._link.call(
            lambda: channel.basic_publish(
                message.exchange, message.routing_key, message.body, message.properties
            )
        )

    def drain(self, timeout_seconds: float) -> None:
        """Take nothing more, finish what was delivered, acknowledge it, leave."""
        deadline = time.monotonic() + timeout_seconds
        for lane in self._lanes:
            lane.stop(timeout_seconds)
        for lane in self._lanes:
            lane.join(max(0.0, deadline - time.monotonic()))
        self._link.close()

    # In the I/O thread.

    def _set_up(self, link: Link) -> None:
        link.open_channel(self._declare)

    def _declare(self, channel: Channel) -> None:
        self._publisher = channel

        def declared_queues() -> None:
            declare_guards(channel, self._guarded, self._queue_type, declared_guards)

        def declared_guards() -> None:
            self.names.bind(channel)
            declare_broadcast(channel, self.names, declared_all)

        def declared_all() -> None:
            channel.queue_declare(self._own_queue, exclusive=True, callback=lambda _: self._open_lanes())

        declare_queues(channel, self.names.requests, self._queue_type, declared_queues)

    def _open_lanes(self) -> None:
        self._to_open = len(self._lanes)
        for index, lane in enumerate(self._lanes):
            own_queue = "" if index else self._own_queue
            self._link.open_channel(lambda channel, lane=lane, own=own_queue: self._open(lane, channel, own))  # type: ignore[misc]

    def _open(self, lane: Lane, channel: Channel, own_queue: str) -> None:
        lane.open(channel, own_queue)
        if self._joined:  # a new connection of a node that serves already
            lane.consume()
        self._to_open -= 1
        if not self._to_open:
            self._link.ready()

    def _lost(self) -> None:
        self._publisher = None
        for lane in self._lanes:
            lane.lost()

    def _send_canary(self, message: Message) -> None:
        def returned(_: object, __: object, properties: BasicProperties, body: bytes) -> None:
            self._canary.set_result(read_reply(properties, body))

        if self._publisher is not None:  # else the connection broke, and no answer is one, too
            self._publisher.basic_consume(DIRECT_REPLY_TO, returned, auto_ack=True)
            self._publisher.basic_publish("", self._own_queue, message.body, message.properties)


def canary_properties(code: str = "") -> BasicProperties:
    """Return the properties of a canary message."""
    return BasicProperties(type=code or None, correlation_id="canary")
