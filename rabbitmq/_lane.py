"""A channel that consumes queues, and the one thread that works on what comes."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from lab.errors import Overloaded

from ._delivery import Delivery, Handler, Watch
from ._link import Confirms, Link
from ._suspects import Suspects
from ._treatment import Left, Treatment
from ._wire import Kind, Message, reply_to

log = logging.getLogger(__name__)

BATCH = 200
ALONE = 1
AGAIN_SECONDS = 0.25
"""Before a message is published again that a full queue did not take."""
FINISHING_SHARE = 0.6
"""Part of the time for draining in which work is still begun; what is left over goes to other nodes."""


class _Unconfirmed(NamedTuple):
    """Deliveries up to *tag* whose last reply is number *sequence* on the channel."""

    sequence: int
    tag: int


class Lane:
    """Consumes *queues* with *prefetch* messages under way; a message is acknowledged after its effect and
    after the broker confirmed its replies, many at a time.

    No work is done in the I/O thread, so that heartbeats flow whatever a message takes. *suspects* decides on
    what was delivered before; *alone*: it is what this lane consumes.
    """

    def __init__(
        self,
        link: Callable[[], Link],
        queues: Sequence[str],
        handler: Handler,
        prefetch: int,
        watch: Watch | None = None,
        suspects: Suspects | None = None,
        alone: bool = False,
    ) -> None:
        self._link = link
        self._queues = queues
        self._suspects = suspects
        self._alone = alone
        self._prefetch = prefetch
        self._watch = watch
        self._treat = Treatment(handler, watch, suspects, alone, self._pause)
        self._delivered_tag = self._settled_tag = 0
        self._channel: Any = None
        self._confirms: Confirms[Message] = Confirms()
        self._held = 0
        """Messages that must be published again; nothing is acknowledged before they are."""
        self._fetched: list[int] = []
        """Tags of what a handler got by itself: acknowledged with what it worked on."""
        self._unconfirmed: deque[_Unconfirmed] = deque()
        self._deliveries: deque[Delivery] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._finish_by = 0.0
        self._consumers: dict[str, str] = {}
        """The queues that are consumed, by the consumer's tag."""
        self.declare: Callable[[Channel, Callable[[], None]], None] = lambda channel, then: then()
        """Declare all queues on a channel, then call the function."""
        self._settled: threading.Event | None = None
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)

    # In the I/O thread.

    def open(self, channel: Channel, own_queue: str = "") -> None:
        """Serve on *channel*, newly opened; *own_queue* is one more queue, of this node alone."""
        self._channel = channel
        self._forget()
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed)  # before anything is consumed, so before any reply
        channel.basic_qos(prefetch_count=self._prefetch)
        if own_queue:
            channel.basic_consume(own_queue, self._delivered)
        if not self._thread.is_alive():
            self._thread.start()

    def consume(self) -> None:
        """Begin to take from the shared queues."""
        if self._channel and self._channel.is_open and not self._consumers and not self._stopping.is_set():
            for queue in self._queues:
                self._consume(queue)

    def cancelled(self, consumer: str) -> None:
        """Declare a deleted queue and consume it again: the broker has cancelled its *consumer*."""
        queue, channel = self._consumers.pop(consumer, ""), self._channel
        if not queue or self._stopping.is_set():
            return
        log.warning("the queue %s was deleted; declaring and consuming it again", queue)

        def declared() -> None:
            if channel is self._channel and not self._stopping.is_set():
                self._consume(queue)

        self.declare(channel, declared)

    def lost(self) -> None:
        """Forget what the broken connection delivered: the broker delivers it again."""
        self._channel = None
        self._forget()
        self._say_when_settled()

    def _forget(self) -> None:
        self._consumers = {}
        self._deliveries.clear()
        self._unconfirmed.clear()
        self._confirms.clear()
        self._held = 0
        self._fetched.clear()
        self._count(delivered=0, settled=0)

    def _consume(self, queue: str) -> None:
        self._consumers[self._channel.basic_consume(queue, self._delivered)] = queue

    def _delivered(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        tag = method.delivery_tag
        self._deliveries.append(Delivery(channel, tag, properties, body, method.redelivered))
        self._wake.set()
        self._count(tag, self._settled_tag)

    def _settle(self, channel: Channel, tag: int, messages: list[Message]) -> None:
        """Publish *messages*, then acknowledge everything up to *tag*."""
        if channel is not self._channel or not channel.is_open:  # delivered by a connection that broke since
            return
        for message in messages:
            self._publish(message)
        if messages or self._unconfirmed:
            self._unconfirmed.append(_Unconfirmed(self._confirms.published, tag))
        else:
            self._acknowledge(tag)

    def _publish(self, message: Message) -> None:
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
        """Declare the queue that a message was for, as it is gone, and publish the message again.

        The broker confirms a message that it returned: nothing is acknowledged before the second one is.
        """
        log.warning("the queue %s was deleted; declaring it again", method.routing_key)
        message = Message(method.routing_key, body, properties, kind=Kind.COPY)
        self._held += 1
        self.declare(channel, lambda: self._publish_again(channel, message))

    def _refused(self, message: Message) -> None:
        """See to a *message* that RabbitMQ does not keep: its queue is full."""
        if message.kind is Kind.PETITION:
            full = Overloaded(f"the queue {message.routing_key} is full; try again later")
            for reply in reply_to(message.properties, full):
                self._publish_waiting(reply)
        elif message.kind is Kind.REPLY:
            log.info("a reply was dropped: its queue is full")
        elif self._alone and self._suspects and message.routing_key == self._suspects.suspect:
            self._try_here(message)
        else:
            if not self._held:  # once, not for each message and each attempt
                log.warning("the queue %s is full; messages wait for room in it", message.routing_key)
            channel = self._channel
            self._held += 1
            self._link().later(AGAIN_SECONDS, lambda: self._publish_again(channel, message))

    def _publish_again(self, channel: Channel, message: Message) -> None:
        if channel is self._channel and channel.is_open:
            self._held -= 1
            self._publish_waiting(message)

    def _publish_waiting(self, message: Message) -> None:
        """Publish *message*; what is not acknowledged yet waits for its confirmation, too."""
        self._publish(message)
        if self._unconfirmed:
            tag = self._unconfirmed[-1].tag
            self._unconfirmed.clear()
            self._unconfirmed.append(_Unconfirmed(self._confirms.published, tag))

    def _try_here(self, message: Message) -> None:
        """Work again on a suspect that has no room in its queue. If all waited for room, none would come."""
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
        """Take nothing more; go on with what was delivered, for most of *timeout_seconds*."""
        self._link().call(self._cancel)
        self._finish_by = time.monotonic() + FINISHING_SHARE * timeout_seconds
        self._stopping.set()
        self._wake.set()

    def join(self, timeout_seconds: float) -> None:
        """Wait until what was worked on is acknowledged, and the thread has ended."""
        deadline = time.monotonic() + timeout_seconds
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        self._settled = threading.Event()
        if self._link().call(self._say_when_settled):
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
        while len(batch) < BATCH:
            try:
                batch.append(self._deliveries.popleft())
            except IndexError:
                break
        return batch

    def _work_on(self, batch: list[Delivery]) -> bool:
        """Work on *batch* and acknowledge it; False if some is left to other nodes, as this one stops."""
        messages: list[Message] = []
        finished: Delivery | None = None
        all_done = True
        for delivery in batch:
            if delivery.channel is not self._channel:  # others have it by now
                continue
            try:
                if self._stopping.is_set() and time.monotonic() > self._finish_by:
                    raise Left
                messages += self._treat(delivery)
            except Left:
                all_done = False
                break
            finished = delivery
        if finished:
            channel, tag = finished.channel, max(finished.tag, *self._fetched, 0)
            self._fetched.clear()
            self._link().call(lambda: self._settle(channel, tag, messages))
        return all_done


def two_lanes(
    link: Callable[[], Link],
    queue: str,
    handler: Handler,
    prefetch: int,
    watch: Watch | None = None,
    takes: bool = True,
) -> tuple[Lane, Lane]:
    """Return the lane of *queue* and that of its suspects; without *takes* they take nothing."""
    suspects = Suspects(queue)
    beside = watch.beside() if watch else None
    return (
        Lane(link, [queue] if takes else [], handler, prefetch, watch, suspects),
        Lane(link, [suspects.suspect] if takes else [], handler, ALONE, beside, suspects, alone=True),
    )
