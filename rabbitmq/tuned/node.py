"""The life of a node of either application: start, canary, join, drain."""

import argparse
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from uuid import uuid4

from pika.channel import Channel
from pika.spec import BasicProperties

from lab.brokers import locate_rabbitmq
from lab.contract import Tick
from lab.errors import AlreadyRunning, DeadlineExceeded, InternalError, Overloaded, Unavailable
from lab.options import NodeOptions, whole_number
from lab.settings import settings

from .broadcast import announcement
from .connection import BLOCKED, Connection
from .delivery import Handler, RetryQueue, Watch
from .direct_replies import DirectReplies
from .server import Consumer
from .wire import (
    DIRECT_REPLY_TO,
    QUEUE_TYPES,
    Message,
    Names,
    declare_broadcast,
    declare_queues,
    declare_retries,
    read_reply,
)

CANARY_SECONDS = 10.0
RETRY_PREFETCH = 1
TAKE_OVER_SECONDS = 2.0
"""How long a node waits for the broker to notice that the one before it was killed."""
LOCKED_SECONDS = 15.0
"""How long after a break the old connection may still be alive to the broker, and hold the node's queues."""
NOT_SOLE = (
    "a node with its state in memory serves this namespace already; stop it, use another --namespace, "
    "or start all nodes with --architecture n-node"
)


class QueueNode:
    """Serves *consumers* on one connection. The first of them also consumes a queue for the canary.

    *retried* are the queues that have a retry queue and dead letters. *is_sole*: the state is in memory, so
    no other node may serve the namespace. *is_light*: open the connection for direct replies with the first.
    """

    def __init__(
        self,
        options: NodeOptions,
        consumers: Callable[[Callable[[], Connection]], Sequence[Consumer]],
        queue_type: str,
        names: Names | None = None,
        retried: Sequence[str] = (),
        is_sole: bool = False,
        is_light: bool = False,
    ) -> None:
        self.names = names or Names(options.namespace)
        self._retried = retried
        self._queue_type = queue_type or settings().queue_type
        self._own_queue = f"{options.namespace}.node-{uuid4().hex[:8]}"
        self._sole_queue = f"{retried[0]}.sole" if is_sole else ""
        """Exclusive to one connection: the broker refuses a second node with its state in memory."""
        self._may_be_locked_until = 0.0
        self._is_replaced = False
        self._is_light = is_light
        self._direct = DirectReplies(locate_rabbitmq())
        self._connection = self._new_connection()
        self._consumers = consumers(lambda: self._connection)
        for consumer in self._consumers:
            consumer.declare = self._declare_all
            consumer.reply_directly = self._reply_directly
        self._joined = False
        self._canary: Future[object] = Future()
        self._canary_reply_to = f"{DIRECT_REPLY_TO}.{uuid4().hex}"
        """Only this node knows this name: it takes the reply itself."""
        self._to_open = 0
        self._publisher: Channel | None = None

    def start(self) -> None:
        """Connect, declare what the namespace needs, consume the node's own queue.

        AlreadyRunning if another node serves the namespace with its state in memory.
        """
        if not self._is_light:
            self._direct.start()
        deadline = time.monotonic() + TAKE_OVER_SECONDS
        while True:
            try:
                return self._connection.start()
            except Unavailable as error:
                if "RESOURCE_LOCKED" not in error.message:
                    raise
                if time.monotonic() > deadline:
                    raise AlreadyRunning(NOT_SOLE) from error
            time.sleep(TAKE_OVER_SECONDS / 20)
            self._connection = self._new_connection()

    def canary(self, code: str, body: bytes) -> None:
        """Send an event with *code* and *body* to the node's own queue and wait for the reply."""
        properties = BasicProperties(type=code or None, reply_to=self._canary_reply_to)
        message = Message(self._own_queue, body, properties)
        self._connection.call(lambda: self._send_canary(message))
        try:
            answer = self._canary.result(CANARY_SECONDS)
        except TimeoutError as error:
            waited = f"the canary message was not answered in {CANARY_SECONDS:g} s"
            raise DeadlineExceeded(waited) from error
        # Another error, such as NO_INSULTS, is an answer.
        if isinstance(answer, Unavailable | Overloaded | InternalError):
            raise answer

    def join(self) -> None:
        """Begin to consume the shared queues."""
        self._joined = True
        for consumer in self._consumers:
            self._connection.call(consumer.consume)

    def announce(self, tick: Tick) -> None:
        """Send *tick* to the subscribers, unconfirmed. Unavailable if RabbitMQ takes nothing just now."""
        channel, message = self._publisher, announcement(self.names, tick)

        def publish() -> None:
            if channel and channel.is_open:
                # If the exchange was deleted, publishing would close the channel.
                declare_broadcast(channel, self.names, lambda: message.publish(channel))

        if self._connection.is_blocked:
            raise Unavailable(BLOCKED)
        if channel is None or not self._connection.call(publish):
            raise Unavailable("the connection to RabbitMQ is lost")

    def drain(self, timeout_seconds: float) -> None:
        """Consume nothing more, finish and acknowledge what was delivered, disconnect.

        AlreadyRunning if this node ends because another one has its sole queue.
        """
        deadline = time.monotonic() + timeout_seconds
        for consumer in self._consumers:
            consumer.stop(timeout_seconds)
        for consumer in self._consumers:
            consumer.join(max(0.0, deadline - time.monotonic()))
        self._direct.close()
        self._connection.close()
        if self._is_replaced:
            raise AlreadyRunning(NOT_SOLE)

    def _new_connection(self) -> Connection:
        return Connection(locate_rabbitmq(), self._set_up, self._lost, self._blocked)

    # In the I/O thread.

    def _set_up(self, connection: Connection) -> None:
        # Of the queues that this channel consumes, only the sole one can be deleted.
        connection.open_channel(self._declare, lambda _: self._declare_sole())

    def _declare(self, channel: Channel) -> None:
        self._publisher = channel

        def declared_all() -> None:
            self._declare_sole()
            channel.queue_declare(self._own_queue, exclusive=True, callback=lambda _: self._open_consumers())

        self._declare_all(channel, declared_all)

    def _declare_sole(self) -> None:
        """Declare the sole queue. Consume it, so that this node is told when somebody deletes it."""
        if self._sole_queue and self._publisher:
            self._publisher.queue_declare(self._sole_queue, exclusive=True)
            self._publisher.basic_consume(self._sole_queue, lambda *_: None, auto_ack=True)

    def _declare_all(self, channel: Channel, then: Callable[[], None]) -> None:
        """Declare the queues and the exchange of the namespace, then call *then*."""

        def declared_queues() -> None:
            declare_retries(channel, self._retried, self._queue_type, declared_retries)

        def declared_retries() -> None:
            self.names.bind(channel)
            declare_broadcast(channel, self.names, then)

        declare_queues(channel, self.names.requests, self._queue_type, declared_queues)

    def _open_consumers(self) -> None:
        self._to_open = len(self._consumers)
        for consumer in self._consumers:
            self._open_channel(consumer)

    def _open_channel(self, consumer: Consumer) -> None:
        own_queue = self._own_queue if consumer is self._consumers[0] else ""

        def opened(channel: Channel) -> None:
            consumer.open(channel, own_queue)
            if self._joined:  # a new channel of a node that serves already
                consumer.consume()
            self._to_open -= 1
            if not self._to_open:
                self._connection.ready()

        self._connection.open_channel(opened, consumer.cancelled, lambda: self._open_again(consumer))

    def _open_again(self, consumer: Consumer) -> None:
        """Open a channel in place of one that was closed: a queue was deleted just before it was consumed."""
        consumer.missing()
        self._to_open += 1
        publisher = self._publisher
        if publisher and publisher.is_open:
            self._declare_all(publisher, lambda: self._open_channel(consumer))

    def _end_canary(self, answer: object) -> None:
        if not self._canary.done():
            self._canary.set_result(answer)

    def _blocked(self) -> None:
        self._end_canary(Overloaded(BLOCKED))

    def _lost(self) -> None:
        self._publisher = None
        for consumer in self._consumers:
            consumer.lost()
        if not self._sole_queue or self._sole_queue not in self._connection.failure:
            self._may_be_locked_until = time.monotonic() + LOCKED_SECONDS
        elif self._joined and time.monotonic() > self._may_be_locked_until:
            self._is_replaced = True
            os.kill(os.getpid(), signal.SIGTERM)

    def _send_canary(self, message: Message) -> None:
        if self._publisher is not None:  # otherwise the connection broke, and the canary gets no answer
            message.publish(self._publisher)

    def _reply_directly(self, reply: Message) -> None:
        if reply.routing_key == self._canary_reply_to:
            self._end_canary(read_reply(reply.properties, reply.body))
        else:
            self._direct.send(reply)


def consumers(
    connection: Callable[[], Connection],
    queue: str,
    handler: Handler,
    prefetch: int,
    watch: Watch | None = None,
    takes: bool = True,
) -> tuple[Consumer, Consumer]:
    """Return the consumers of *queue* and of its retry queue. Without *takes* they consume nothing."""
    retries = RetryQueue(queue)
    beside = watch.beside() if watch else None
    first = Consumer(connection, [queue] if takes else [], handler, prefetch, watch, retries)
    again = [retries.retry] if takes else []
    return first, Consumer(connection, again, handler, RETRY_PREFETCH, beside, retries, is_retry=True)


def add_queue_options(parser: argparse.ArgumentParser, usual_prefetch: int) -> None:
    """Add ``--prefetch`` and ``--queue-type``."""
    parser.add_argument(
        "--prefetch",
        type=whole_number(1, 65535),
        metavar="N",
        help=f"messages at a time; without it, {usual_prefetch}, or 3 if each text takes time",
    )
    parser.add_argument(
        "--queue-type",
        choices=QUEUE_TYPES,
        default=settings().queue_type,
        help="kind of the durable queues; clients follow LAB_QUEUE_TYPE",
    )
