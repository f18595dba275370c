"""How a node receives requests: a channel that consumes queues, and a thread that does the work.

Replaced parts of pika: none.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress

from pika.channel import Channel
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from lab.errors import Unavailable

from .connection import Connection
from .delivery import Delivery, Handler, NotFinished, Outcome, RetryQueue, Watch
from .settlement import Settlement
from .wire import Message

log = logging.getLogger(__name__)

BATCH = 200
FETCH_SECONDS = 10.0
DELETED = "the queue %s was deleted; declaring and consuming it again"
ANEW_SECONDS, IN_DOUBT_SECONDS = 1.0, 30.0
"""How often, and how long after a deletion, a queue is consumed again. RabbitMQ may confirm a consumer of a
queue that is deleted at that moment, and never cancel it."""
FINISHING_SHARE = 0.6
"""The part of the time for draining in which work still begins. Other nodes get the rest of the messages."""


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
        self.queues = queues
        self._prefetch = prefetch
        self._watch = watch
        self._outcome = Outcome(handler, watch, retries, is_retry, self._pause)
        self._settlement: Settlement | None = None
        self._fetched: list[int] = []
        """Tags of messages that a handler fetched. They are acknowledged with the message it worked on."""
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
        self._forget()
        self._settlement = Settlement(channel, self)
        channel.basic_qos(prefetch_count=self._prefetch)
        if own_queue:
            channel.basic_consume(own_queue, self._delivered)
        if not self._thread.is_alive():
            self._thread.start()

    def consume(self) -> None:
        """Begin to consume the shared queues."""
        if self._channel and not self._consumers and not self._stopping.is_set():
            for queue in self.queues:
                self._consume(queue)

    def cancelled(self, consumer: str) -> None:
        """Declare a deleted queue and consume it again. *consumer* is the tag that the broker cancelled."""
        queue, channel = self._consumers.pop(consumer, ""), self._channel
        self._cancelled.add(consumer)
        self._in_doubt_until = time.monotonic() + IN_DOUBT_SECONDS
        if channel and consumer in self._beginning:  # its queue was deleted before RabbitMQ confirmed it
            confirmed = Method(channel.channel_number, Basic.ConsumeOk(consumer))
            # RabbitMQ never does now, and pika would hold all other requests on this channel back until then.
            channel.callbacks.process(channel.channel_number, Basic.ConsumeOk, channel, confirmed)
        if channel is None or not queue or self._stopping.is_set():
            return
        log.warning(DELETED, queue)

        def declared() -> None:
            if channel is self._channel and not self._stopping.is_set():
                self._consume(queue)

        self.declare(channel, declared)

    def missing(self) -> None:
        """Forget the channel: it was closed because a queue was deleted just before it was consumed."""
        self._in_doubt_until = time.monotonic() + IN_DOUBT_SECONDS
        for queue in self.queues:
            log.warning(DELETED, queue)
        self.lost()

    def lost(self) -> None:
        """Forget the channel. What was not acknowledged on it is delivered again, if its queue is there."""
        self._settlement = None
        self._forget()
        self.acknowledged()

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        self._connection().later(seconds, work)

    def work_again(self, delivery: Delivery) -> None:
        self._deliveries.append(delivery)
        self._wake.set()

    def acknowledged(self) -> None:
        if self._watch:
            self._watch.under_way(self._settlement.under_way if self._settlement else 0)
        if self._settled and (self._settlement is None or self._settlement.is_done):
            self._settled.set()

    @property
    def _channel(self) -> Channel | None:
        """The channel, if it is open."""
        return self._settlement.channel if self._settlement and self._settlement.channel.is_open else None

    def _forget(self) -> None:
        self._consumers = {}
        self._beginning.clear()
        self._fetched.clear()

    def _consume(self, queue: str) -> None:
        if not self._channel:
            return
        consumer = self._channel.basic_consume(queue, self._delivered, callback=self._begun)
        self._consumers[consumer] = queue
        self._beginning.add(consumer)
        if time.monotonic() < self._in_doubt_until:
            self.later(ANEW_SECONDS, lambda: self._consume_anew(consumer))

    def _consume_anew(self, consumer: str) -> None:
        if self._channel and consumer in self._consumers and not self._stopping.is_set():
            self._channel.basic_cancel(consumer)
            self._consume(self._consumers.pop(consumer))

    def _begun(self, frame: Method) -> None:
        self._beginning.discard(frame.method.consumer_tag)

    def _delivered(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        if self._settlement:
            self._settlement.under_way += 1
            if self._watch:
                self._watch.under_way(self._settlement.under_way)
        self.work_again(
            Delivery(channel, method.delivery_tag, properties, body, method.redelivered, method.consumer_tag)
        )

    def _settle(self, settlement: Settlement | None, outcomes: list[tuple[int, list[Message]]]) -> None:
        if self._settlement:
            is_new = self._settlement is not settlement
            self._settlement.settle([each for each in outcomes if not each[0]] if is_new else outcomes)

    def _cancel(self) -> None:
        if self._channel:
            for consumer in self._consumers:
                self._channel.basic_cancel(consumer)
        self._consumers = {}

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
        if self._connection().call(self.acknowledged):
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
        """Work on *batch* and settle it. Return False if this node stops and leaves some to others."""
        settlement = self._settlement
        outcomes: list[tuple[int, list[Message]]] = []
        all_done = True
        for delivery in batch:
            is_open = settlement is not None and delivery.channel is settlement.channel
            if not is_open and delivery.consumer not in self._cancelled:  # another node has it now
                continue
            try:
                if self._stopping.is_set() and time.monotonic() > self._finish_by:
                    raise NotFinished
                messages = self._outcome.of(delivery)
            except NotFinished:
                all_done = False
                break
            outcomes.append((max(delivery.tag, *self._fetched, 0) if is_open else 0, messages))
            self._fetched.clear()
        self._connection().do(lambda: self._settle(settlement, outcomes))
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
