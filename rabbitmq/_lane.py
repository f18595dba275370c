"""A channel that consumes queues, and the one thread that works on what comes."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from lab.errors import InternalError, LabError, Unavailable, as_text

from ._link import Link
from ._wire import Message, reply_to

log = logging.getLogger(__name__)

FETCH_SECONDS = 10.0
BATCH = 200
STORE_BACK_OFF_SECONDS = 0.25


class Delivery(NamedTuple):
    """A message that was delivered on a channel and is not acknowledged yet."""

    channel: Channel
    tag: int
    properties: BasicProperties
    body: bytes


Handler = Callable[[Delivery], list[Message]]
"""Works on a delivery; returns what is to be published before it is acknowledged."""


class Watch(Protocol):
    """Is told what a lane is doing: for who scales nodes by what they have under way."""

    def under_way(self, messages: int) -> None:
        """So many messages are delivered and not acknowledged now."""

    def begin(self, properties: BasicProperties) -> None:
        """Work on a message begins."""

    def end(self) -> None:
        """Work on it ended, well or not."""


@dataclass(slots=True)
class _Unconfirmed:
    """Deliveries up to *tag* whose last reply is number *sequence* on the channel."""

    sequence: int
    tag: int


class Lane:
    """Consumes *queues* with *prefetch* messages under way; a message is acknowledged after its effect and
    after the broker confirmed its replies, many at a time.

    No work is done in the I/O thread, so that heartbeats flow whatever a message takes.
    """

    def __init__(
        self,
        link: Callable[[], Link],
        queues: Sequence[str],
        handler: Handler,
        prefetch: int,
        watch: Watch | None = None,
    ) -> None:
        self._link = link
        self._queues = queues
        self._handler = handler
        self._prefetch = prefetch
        self._watch = watch
        self._delivered_tag = self._settled_tag = 0
        self._channel: Any = None
        self._published = 0
        self._fetched_tag = 0
        self._unconfirmed: deque[_Unconfirmed] = deque()
        self._deliveries: deque[Delivery] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._consumers: list[str] = []
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)

    # In the I/O thread.

    def open(self, channel: Channel, own_queue: str = "") -> None:
        """Serve on *channel*, newly opened; *own_queue* is one more queue, of this node alone."""
        self._channel = channel
        self._published = self._fetched_tag = 0
        self._count(delivered=0, settled=0)
        self._unconfirmed.clear()
        channel.confirm_delivery(self._confirmed)  # before anything is consumed, so before any reply
        channel.basic_qos(prefetch_count=self._prefetch)
        if own_queue:
            channel.basic_consume(own_queue, self._delivered)
        if not self._thread.is_alive():
            self._thread.start()

    def consume(self) -> None:
        """Begin to take from the shared queues."""
        if self._channel and self._channel.is_open and not self._consumers:
            self._consumers = [self._channel.basic_consume(queue, self._delivered) for queue in self._queues]

    def lost(self) -> None:
        """Forget what the broken connection delivered: the broker delivers it again."""
        self._channel = None
        self._consumers = []
        self._deliveries.clear()
        self._unconfirmed.clear()
        self._count(delivered=0, settled=0)

    def _delivered(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        self._deliveries.append(Delivery(channel, method.delivery_tag, properties, body))
        self._wake.set()
        self._count(method.delivery_tag, self._settled_tag)

    def _settle(self, channel: Channel, tag: int, messages: list[Message]) -> None:
        """Publish *messages*, then acknowledge everything up to *tag*."""
        if channel is not self._channel or not channel.is_open:  # delivered by a connection that broke since
            return
        for message in messages:
            channel.basic_publish(message.exchange, message.routing_key, message.body, message.properties)
        self._published += len(messages)
        if messages or self._unconfirmed:
            self._unconfirmed.append(_Unconfirmed(self._published, tag))
        else:
            self._acknowledge(tag)

    def _confirmed(self, frame: object) -> None:
        method = frame.method  # type: ignore[attr-defined]
        tag = 0
        while self._unconfirmed and self._unconfirmed[0].sequence <= method.delivery_tag:
            tag = self._unconfirmed.popleft().tag
        if tag and self._channel and self._channel.is_open:
            self._acknowledge(tag)

    def _acknowledge(self, tag: int) -> None:
        self._channel.basic_ack(tag, multiple=True)
        self._count(self._delivered_tag, tag)

    def _count(self, delivered: int, settled: int) -> None:
        self._delivered_tag, self._settled_tag = delivered, settled
        if self._watch:
            self._watch.under_way(max(0, delivered - settled))

    def _cancel(self) -> None:
        if self._channel and self._channel.is_open:
            for consumer in self._consumers:
                self._channel.basic_cancel(consumer)
        self._consumers = []

    # In other threads.

    def fetch(self, queue: str) -> Delivery | None:
        """Get the oldest waiting message of *queue*, or None if none waits.

        To be called by the handler of a lane with prefetch 1: what was fetched is acknowledged with the
        message that asked for it, and no third one can stand between their tags.
        """
        future: Future[Delivery | None] = Future()

        def got(channel: Channel, method: Basic.GetOk, properties: BasicProperties, body: bytes) -> None:
            self._fetched_tag = method.delivery_tag
            future.set_result(Delivery(channel, method.delivery_tag, properties, body))

        def empty(_: object) -> None:
            if not future.done():  # it stays registered when a message came instead
                future.set_result(None)

        def get() -> None:
            if self._channel is None:
                future.set_exception(Unavailable("the connection to RabbitMQ is lost"))
                return
            self._channel.add_callback(empty, [Basic.GetEmpty], one_shot=True)
            self._channel.basic_get(queue, got)

        if not self._link().call(get):
            raise Unavailable("the connection to RabbitMQ is lost")
        try:
            return future.result(FETCH_SECONDS)
        except TimeoutError as error:
            raise Unavailable("RabbitMQ did not hand out a message in time") from error

    def drain(self, timeout_seconds: float) -> None:
        """Take nothing more, settle what was delivered, end the thread."""
        self._link().call(self._cancel)
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _work(self) -> None:
        while True:
            self._wake.clear()
            batch = self._next_batch()
            if batch:
                self._work_on(batch)
            elif self._stopping:
                return
            else:
                self._wake.wait(0.5)

    def _next_batch(self) -> list[Delivery]:
        batch: list[Delivery] = []
        while len(batch) < BATCH:
            try:
                batch.append(self._deliveries.popleft())
            except IndexError:
                break
        return batch

    def _work_on(self, batch: list[Delivery]) -> None:
        messages: list[Message] = []
        for delivery in batch:
            messages += self._watched(delivery)
        channel, tag = batch[-1].channel, max(batch[-1].tag, self._fetched_tag)
        self._link().call(lambda: self._settle(channel, tag, messages))

    def _watched(self, delivery: Delivery) -> list[Message]:
        if self._watch is None:
            return self._handled(delivery)
        self._watch.begin(delivery.properties)
        try:
            return self._handled(delivery)
        finally:
            self._watch.end()

    def _handled(self, delivery: Delivery) -> list[Message]:
        while True:
            try:
                return self._handler(delivery)
            except Unavailable as error:
                if self._stopping or delivery.properties.reply_to:
                    return reply_to(delivery.properties, error)
                log.warning("waiting for the store: %s", error)
                self._wake.wait(STORE_BACK_OFF_SECONDS)
            except LabError as error:
                if not delivery.properties.reply_to:
                    log.info("refused a message that names no place to reply to: %s", as_text(error))
                return reply_to(delivery.properties, error)
            except Exception as error:
                error_id = uuid4().hex[:12]
                log.exception("a message failed, error id %s", error_id)
                internal = InternalError(error_id)
                internal.__cause__ = error
                return reply_to(delivery.properties, internal)
