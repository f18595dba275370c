"""How a node receives requests and answers: a channel that consumes queues, and a thread that does the work.

Replaced parts of pika: none. Replies are published and deliveries acknowledged many at a time.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple

from pika.channel import Channel
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from lab.errors import Overloaded, Unavailable

from .connection import Confirms, Connection
from .delivery import ERROR_ID, Delivery, Handler, NotFinished, Outcome, RetryQueue, Watch
from .wire import Kind, Message, reply_to

log = logging.getLogger(__name__)

BATCH = 200
FETCH_SECONDS = 10.0
DELETED = "the queue %s was deleted; declaring and consuming it again"
ANEW_SECONDS, IN_DOUBT_SECONDS = 1.0, 30.0
"""How often, and how long after a deletion, a queue is consumed again. RabbitMQ may confirm a consumer of a
queue that is deleted at that moment, and never cancel it."""
SAY_AGAIN_SECONDS = 60.0
"""The time between two log lines about a full queue."""
AGAIN_SECONDS = 0.25
"""How long to wait before publishing a message again that a full queue refused."""
FINISHING_SHARE = 0.6
"""The part of the time for draining in which work still begins. Other nodes get the rest of the messages."""


class _Unconfirmed(NamedTuple):
    """Deliveries up to *tag*; their last reply is number *sequence* on the channel."""

    sequence: int
    tag: int


class Consumer:
    """Consumes *queues* with *prefetch* messages at a time.

    A message is acknowledged after it had its effect and the broker confirmed its reply. The I/O thread does
    no work, so that heartbeats are sent however long a message takes. *retries* decides on messages that were
    delivered before. *is_retry*: this is the consumer of the retry queue.
    """

    reply_directly: Callable[[Message], None]
    """Publish a reply to a direct-reply-to name, which may end the connection that does it."""

    def __init__(
        self,
        connection: Callable[[], Connection],
        queues: Sequence[str],
        handler: Handler,
        prefetch: int,
        watch: Watch | None = None,
        retries: RetryQueue | None = None,
        is_retry: bool = False,
    ) -> None:
        self._connection = connection
        self._queues = queues
        self._retry_queue = retries.retry if retries and is_retry else ""
        self._prefetch = prefetch
        self._watch = watch
        self._outcome = Outcome(handler, watch, retries, is_retry, self._pause)
        self._delivered_tag = self._settled_tag = 0
        self._channel: Any = None
        self._confirms: Confirms[Message] = Confirms()
        self._held = 0
        """How many messages must be published again. Nothing is acknowledged before that."""
        self._say_again_at = 0.0
        self._fetched: list[int] = []
        """Tags of messages that a handler fetched. They are acknowledged with the message it worked on."""
        self._unconfirmed: deque[_Unconfirmed] = deque()
        self._deliveries: deque[Delivery] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._finish_by = 0.0
        self._consumers: dict[str, str] = {}
        """The queues that are consumed, by the tags that the broker knows."""
        self._beginning: set[str] = set()
        """Consumers that the broker has not confirmed yet."""
        self._in_doubt_until = 0.0
        self._cancelled: set[str] = set()
        """Consumers whose queue was deleted: no other node will get what they were given."""
        self.declare: Callable[[Channel, Callable[[], None]], None] = lambda channel, then: then()
        """Declare all queues on a channel, then call the function."""
        self._settled: threading.Event | None = None
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)

    # In the I/O thread.

    def open(self, channel: Channel, own_queue: str = "") -> None:
        """Serve on the new *channel*. *own_queue*: one more queue, which only this node has."""
        self._channel = channel
        self._forget()
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed)  # before it consumes, and so before any reply
        channel.basic_qos(prefetch_count=self._prefetch)
        if own_queue:
            channel.basic_consume(own_queue, self._delivered)
        if not self._thread.is_alive():
            self._thread.start()

    def consume(self) -> None:
        """Begin to consume the shared queues."""
        if self._channel and self._channel.is_open and not self._consumers and not self._stopping.is_set():
            for queue in self._queues:
                self._consume(queue)

    def cancelled(self, consumer: str) -> None:
        """Declare a deleted queue and consume it again. *consumer* is the tag that the broker cancelled."""
        queue, channel = self._consumers.pop(consumer, ""), self._channel
        self._cancelled.add(consumer)
        self._in_doubt_until = time.monotonic() + IN_DOUBT_SECONDS
        if consumer in self._beginning:  # its queue was deleted before RabbitMQ confirmed it
            confirmed = Method(channel.channel_number, Basic.ConsumeOk(consumer))
            # RabbitMQ never does now, and pika would hold all other requests on this channel back until then.
            channel.callbacks.process(channel.channel_number, Basic.ConsumeOk, channel, confirmed)
        if not queue or self._stopping.is_set():
            return
        log.warning(DELETED, queue)

        def declared() -> None:
            if channel is self._channel and not self._stopping.is_set():
                self._consume(queue)

        self.declare(channel, declared)

    def missing(self) -> None:
        """Forget the channel: it was closed because a queue was deleted just before it was consumed."""
        self._in_doubt_until = time.monotonic() + IN_DOUBT_SECONDS
        for queue in self._queues:
            log.warning(DELETED, queue)
        self.lost()

    def lost(self) -> None:
        """Forget the channel. What was not acknowledged on it is delivered again, if its queue is there."""
        self._channel = None
        self._forget()
        self._say_when_settled()

    def _forget(self) -> None:
        self._consumers = {}
        self._beginning.clear()
        self._unconfirmed.clear()
        self._confirms.clear()
        self._held = 0
        self._fetched.clear()
        self._count(delivered=0, settled=0)

    def _consume(self, queue: str) -> None:
        consumer = self._channel.basic_consume(queue, self._delivered, callback=self._begun)
        self._consumers[consumer] = queue
        self._beginning.add(consumer)
        if time.monotonic() < self._in_doubt_until:
            self._connection().later(ANEW_SECONDS, lambda: self._consume_anew(consumer))

    def _consume_anew(self, consumer: str) -> None:
        is_open = self._channel and self._channel.is_open and not self._stopping.is_set()
        if is_open and consumer in self._consumers:
            self._channel.basic_cancel(consumer)
            self._consume(self._consumers.pop(consumer))

    def _begun(self, frame: Method) -> None:
        self._beginning.discard(frame.method.consumer_tag)

    def _delivered(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        tag = method.delivery_tag
        delivery = Delivery(channel, tag, properties, body, method.redelivered, method.consumer_tag)
        self._deliveries.append(delivery)
        self._wake.set()
        self._count(tag, self._settled_tag)

    def _settle(self, channel: Channel, tag: int, messages: list[Message]) -> None:
        """Publish *messages*; acknowledge all deliveries up to *tag* when the broker has confirmed them."""
        if channel is not self._channel or not channel.is_open:  # that connection is broken
            return
        published = self._confirms.published
        for message in messages:
            self._publish(message)
        if self._confirms.published > published or self._unconfirmed:
            self._unconfirmed.append(_Unconfirmed(self._confirms.published, tag))
        else:
            self._acknowledge(tag)

    def _publish_all(self, messages: list[Message]) -> None:
        if self._channel and self._channel.is_open:
            for message in messages:
                self._publish(message)

    def _publish(self, message: Message) -> None:
        if message.is_direct_reply:
            self.reply_directly(message)
            return
        message.publish(self._channel)
        self._confirms.add(message)

    def _confirmed(self, frame: object) -> None:
        method = frame.method  # type: ignore[attr-defined]
        settled = self._confirms.settle(method)
        if isinstance(method, Basic.Nack):
            for message in settled:
                self._refused(message)
        if self._held:
            return
        tag = 0
        while self._unconfirmed and self._unconfirmed[0].sequence < self._confirms.oldest:
            tag = self._unconfirmed.popleft().tag
        if tag and self._channel and self._channel.is_open:
            self._acknowledge(tag)

    def _returned(
        self, channel: Channel, method: Basic.Return, properties: BasicProperties, body: bytes
    ) -> None:
        """Declare the queue that is gone, and publish the message again.

        The broker confirms a message that it returns. So acknowledge nothing until it confirms the second.
        """
        log.warning("the queue %s was deleted; declaring it again", method.routing_key)
        message = Message(method.routing_key, body, properties, kind=Kind.COPY)
        self._held += 1
        self.declare(channel, lambda: self._publish_again(channel, message))

    def _refused(self, message: Message) -> None:
        """Decide what to do with a *message* that RabbitMQ refused, because its queue is full."""
        if message.kind is Kind.PETITION:
            full = Overloaded(f"the queue {message.routing_key} is full; try again later")
            for reply in reply_to(message.properties, full):
                self._publish_waiting(reply)
        elif message.kind is Kind.REPLY:
            log.info("a reply was dropped: its queue is full")
        elif letter := (message.properties.headers or {}).get(ERROR_ID):
            # Waiting for room would stop all other work: nobody but an operator makes room there.
            log.error(
                "dead letter %s was dropped, because %s is full: message %s",
                letter,
                message.routing_key,
                message.properties.message_id,
            )
        elif message.routing_key == self._retry_queue:
            self._retry_here(message)
        else:
            if time.monotonic() >= self._say_again_at:  # not for each message and attempt
                self._say_again_at = time.monotonic() + SAY_AGAIN_SECONDS
                log.warning("the queue %s is full; messages wait for room in it", message.routing_key)
            channel = self._channel
            self._held += 1
            self._connection().later(AGAIN_SECONDS, lambda: self._publish_again(channel, message))

    def _publish_again(self, channel: Channel, message: Message) -> None:
        if channel is self._channel and channel.is_open:
            self._held -= 1
            self._publish_waiting(message)

    def _publish_waiting(self, message: Message) -> None:
        """Publish *message*. All that is not acknowledged yet waits until the broker confirms it."""
        self._publish(message)
        if self._unconfirmed:
            tag = self._unconfirmed[-1].tag
            self._unconfirmed.clear()
            self._unconfirmed.append(_Unconfirmed(self._confirms.published, tag))

    def _retry_here(self, message: Message) -> None:
        """Try a message of the retry queue again, because that queue is full.

        If all nodes waited for room in it, no node would make room.
        """
        tag = self._unconfirmed.pop().tag
        self._deliveries.append(Delivery(self._channel, tag, message.properties, message.body))
        self._wake.set()

    def _acknowledge(self, tag: int) -> None:
        self._channel.basic_ack(tag, multiple=True)
        self._count(self._delivered_tag, tag)
        self._say_when_settled()

    def _count(self, delivered: int, settled: int) -> None:
        self._delivered_tag, self._settled_tag = delivered, settled
        if self._watch:
            self._watch.under_way(max(0, delivered - settled))

    def _cancel(self) -> None:
        if self._channel and self._channel.is_open:
            for consumer in self._consumers:
                self._channel.basic_cancel(consumer)
        self._consumers = {}

    def _say_when_settled(self) -> None:
        if self._settled and not self._unconfirmed:
            self._settled.set()

    # In other threads.

    def stop(self, timeout_seconds: float) -> None:
        """Consume nothing more; work on what was delivered, for most of *timeout_seconds*."""
        self._connection().call(self._cancel)
        self._finish_by = time.monotonic() + FINISHING_SHARE * timeout_seconds
        self._stopping.set()
        self._wake.set()

    def join(self, timeout_seconds: float) -> None:
        """Wait until the thread has ended and its work is acknowledged."""
        deadline = time.monotonic() + timeout_seconds
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        self._settled = threading.Event()
        if self._connection().call(self._say_when_settled):
            self._settled.wait(max(0.0, deadline - time.monotonic()))

    def _pause(self, seconds: float) -> bool:
        return not self._stopping.wait(seconds)

    def _work(self) -> None:
        while True:
            self._wake.clear()
            batch = self._next_batch()
            if batch:
                if not self._work_on(batch):
                    return
            elif self._stopping.is_set():
                return
            else:
                self._wake.wait(0.5)

    def _next_batch(self) -> list[Delivery]:
        batch: list[Delivery] = []
        with suppress(IndexError):  # there are no more
            while len(batch) < BATCH:
                batch.append(self._deliveries.popleft())
        return batch

    def _work_on(self, batch: list[Delivery]) -> bool:
        """Work on *batch* and acknowledge it. Return False if this node stops and leaves some to others."""
        messages: list[Message] = []
        of_deleted: list[Message] = []
        finished: Delivery | None = None
        all_done = True
        for delivery in batch:
            is_open = delivery.channel is self._channel
            if not is_open and delivery.consumer not in self._cancelled:  # another node has it now
                continue
            try:
                if self._stopping.is_set() and time.monotonic() > self._finish_by:
                    raise NotFinished
                (messages if is_open else of_deleted).extend(self._outcome.of(delivery))
            except NotFinished:
                all_done = False
                break
            finished = delivery if is_open else finished
        if of_deleted:
            self._connection().call(lambda: self._publish_all(of_deleted))
        if finished:
            channel, tag = finished.channel, max(finished.tag, *self._fetched, 0)
            self._fetched.clear()
            self._connection().call(lambda: self._settle(channel, tag, messages))
        return all_done


class FetchingConsumer(Consumer):
    """A consumer with prefetch 1 whose handler also fetches messages of other queues, one by one.

    They are acknowledged together with the message that the handler works on. With prefetch 1 no other
    message has a tag between theirs.
    """

    _asked: Future[Delivery | None] | None = None
    """Where the handler waits for the message that it asked for."""

    def fetch(self, queue: str) -> Delivery | None:
        """Return the oldest waiting message of *queue*, or None if there is none. The handler calls it."""
        future: Future[Delivery | None] = Future()
        if not self._connection().call(lambda: self._get(queue, future)):
            raise Unavailable("the connection to RabbitMQ is lost")
        try:
            return future.result(FETCH_SECONDS)
        except TimeoutError as error:
            if not future.cancel():  # it has just come
                return future.result()
            raise Unavailable("RabbitMQ did not hand out a message in time") from error

    # In the I/O thread.

    def open(self, channel: Channel, own_queue: str = "") -> None:
        channel.add_callback(lambda _: self._hand_out(None), [Basic.GetEmpty], one_shot=False)
        super().open(channel, own_queue)

    def lost(self) -> None:
        super().lost()
        if self._asked:
            _refuse(self._asked, "the connection to RabbitMQ is lost")
        self._asked = None

    def _get(self, queue: str, future: Future[Delivery | None]) -> None:
        channel = self._channel
        if channel is None or not channel.is_open:
            _refuse(future, "the connection to RabbitMQ is lost")
        elif self._asked:  # one at a time: an answer does not say to which request
            _refuse(future, "RabbitMQ has not answered the last request for a message yet")
        else:
            self._asked = future
            # A node that only fetches has no consumer there, so it is not told that the queue was deleted.
            self.declare(channel, lambda: channel.basic_get(queue, self._got))

    def _got(self, channel: Channel, method: Basic.GetOk, properties: BasicProperties, body: bytes) -> None:
        tag = method.delivery_tag
        if self._hand_out(Delivery(channel, tag, properties, body, method.redelivered)):
            return
        # The handler waits no longer. Among the fetched tags it would be acknowledged without being done.
        channel.basic_nack(tag, requeue=True)

    def _hand_out(self, delivery: Delivery | None) -> bool:
        """Give the handler the message that it asked for. Return False if it waits no longer."""
        asked, self._asked = self._asked, None
        if asked is None or not asked.set_running_or_notify_cancel():
            return False
        if delivery:
            self._fetched.append(delivery.tag)
        asked.set_result(delivery)
        return True

    # In other threads.

    def put_back(self) -> None:
        """Return the fetched messages to their queues."""
        channel, (*tags,) = self._channel, self._fetched
        self._fetched.clear()

        def nack() -> None:
            if channel is self._channel and channel and channel.is_open:
                for tag in tags:
                    channel.basic_nack(tag, requeue=True)

        self._connection().call(nack)


def _refuse(future: Future[Delivery | None], why: str) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(Unavailable(why))
