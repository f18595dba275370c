"""What the nodes of both applications share: lanes on a link, a canary, a clean end."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from uuid import uuid4

from pika.channel import Channel
from pika.spec import BasicProperties

from lab.brokers.locate import locate_rabbitmq
from lab.contract import Tick
from lab.errors import Code, DeadlineExceeded, InternalError, InvalidRequest, Overloaded, Unavailable
from lab.options import NodeOptions
from lab.settings import settings

from ._broadcast import announcement
from ._lane import Lane
from ._link import Link
from ._queues import declare_broadcast, declare_guards, declare_queues
from ._wire import Message, Names, read_reply

CANARY_SECONDS = 10.0
TAKE_OVER_SECONDS = 2.0
"""How long a node waits for the broker to notice that the one before it was killed."""
NOT_SOLE = (
    "a node with its state in memory serves this namespace already; stop it, use another --namespace, "
    "or start all nodes with --architecture n-node"
)
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
"""A pseudo-queue, cheaper to the broker than a real one: https://www.rabbitmq.com/docs/direct-reply-to."""


class QueueServer:
    """Serves *lanes* on one connection; the first also serves a queue of the node's own, for its canary.

    *guarded* are the queues that have suspects and dead letters. *is_sole*: its state is in memory, so
    no other node may serve the namespace.
    """

    def __init__(
        self,
        options: NodeOptions,
        lanes: Callable[[Callable[[], Link]], Sequence[Lane]],
        queue_type: str,
        names: Names | None = None,
        guarded: Sequence[str] = (),
        is_sole: bool = False,
    ) -> None:
        self.names = names or Names(options.namespace)
        self._guarded = guarded
        self._queue_type = queue_type or settings().queue_type
        self._own_queue = f"{options.namespace}.node-{uuid4().hex[:8]}"
        self._sole_queue = f"{guarded[0]}.sole" if is_sole else ""
        """Exclusive to one connection: a second node with its state in memory is refused."""
        self._link = self._new_link()
        self._lanes = lanes(lambda: self._link)
        for lane in self._lanes:
            lane.declare = self._declare_all
        self._joined = False
        self._canary: Future[object] = Future()
        self._to_open = 0
        self._publisher: Channel | None = None

    def start(self) -> None:
        """Connect, declare what the namespace needs, serve the node's own queue.

        InvalidRequest if another node serves the namespace with its state in memory.
        """
        deadline = time.monotonic() + TAKE_OVER_SECONDS
        while True:
            try:
                return self._link.start()
            except Unavailable as error:
                if "RESOURCE_LOCKED" not in error.message:
                    raise
                if time.monotonic() > deadline:
                    raise InvalidRequest(Code.MALFORMED, NOT_SOLE) from error
            time.sleep(TAKE_OVER_SECONDS / 20)
            self._link = self._new_link()

    def _new_link(self) -> Link:
        return Link(locate_rabbitmq(), self._set_up, self._lost)

    def canary(self, message: Message) -> None:
        """Send *message* to the node's own queue and wait for the reply."""
        message.properties.reply_to = DIRECT_REPLY_TO
        self._link.call(lambda: self._send_canary(message))
        try:
            answer = self._canary.result(CANARY_SECONDS)
        except TimeoutError as error:
            if self._link.is_blocked:
                raise Overloaded("RabbitMQ takes nothing for now: it is out of memory or disk") from error
            waited = f"the canary message was not answered in {CANARY_SECONDS:g} s"
            raise DeadlineExceeded(waited) from error
        if isinstance(answer, Unavailable | InternalError):  # no insults: it works
            raise answer

    def join(self) -> None:
        """Begin to take from the shared queues."""
        self._joined = True
        for lane in self._lanes:
            self._link.call(lane.consume)

    def announce(self, tick: Tick) -> None:
        """Send *tick* to the subscribers, unconfirmed. Unavailable if RabbitMQ takes nothing just now."""
        channel, message = self._publisher, announcement(self.names, tick)

        def publish() -> None:
            if channel and channel.is_open:
                # The exchange may have been deleted: what is published to none closes the channel.
                declare_broadcast(channel, self.names, lambda: message.publish(channel))

        if self._link.is_blocked:
            raise Unavailable("RabbitMQ takes nothing for now: it is out of memory or disk")
        if channel is None or not self._link.call(publish):
            raise Unavailable("the connection to RabbitMQ is lost")

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

        def declared_all() -> None:
            if self._sole_queue:
                channel.queue_declare(self._sole_queue, exclusive=True)
            channel.queue_declare(self._own_queue, exclusive=True, callback=lambda _: self._open_lanes())

        self._declare_all(channel, declared_all)

    def _declare_all(self, channel: Channel, then: Callable[[], None]) -> None:
        """Declare the queues and the exchange of the namespace, then call *then*."""

        def declared_queues() -> None:
            declare_guards(channel, self._guarded, self._queue_type, declared_guards)

        def declared_guards() -> None:
            self.names.bind(channel)
            declare_broadcast(channel, self.names, then)

        declare_queues(channel, self.names.requests, self._queue_type, declared_queues)

    def _open_lanes(self) -> None:
        self._to_open = len(self._lanes)
        for index, lane in enumerate(self._lanes):
            own_queue = "" if index else self._own_queue
            self._link.open_channel(
                lambda channel, lane=lane, own=own_queue: self._open(lane, channel, own),  # type: ignore[misc]
                lane.cancelled,
            )

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
            if not self._canary.done():
                self._canary.set_result(read_reply(properties, body))

        if self._publisher is not None:  # else the connection broke, and no answer is one, too
            self._publisher.basic_consume(DIRECT_REPLY_TO, returned, auto_ack=True)
            self._publisher.basic_publish("", self._own_queue, message.body, message.properties)


def canary_properties(code: str = "") -> BasicProperties:
    """Return the properties of a canary message."""
    return BasicProperties(type=code or None, correlation_id="canary")
