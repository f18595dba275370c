"""The way from the outcome of a delivery to its acknowledgement, on one channel.

Replaced parts of pika: none. Replies are published and deliveries acknowledged many at a time.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from lab.errors import Overloaded

from .connection import Confirms
from .delivery import ERROR_ID, Delivery
from .wire import Kind, Message, reply_to

log = logging.getLogger(__name__)

SAY_AGAIN_SECONDS = 60.0
"""The time between two log lines about a full queue."""
AGAIN_SECONDS = 0.25
"""How long to wait before publishing a message again that a full queue refused."""


class Owner(Protocol):
    """The consumer whose deliveries are settled."""

    queues: Sequence[str]
    """The queues that it consumes."""
    declare: Callable[[Channel, Callable[[], None]], None]
    """Declare all queues on a channel, then call the function."""
    reply_directly: Callable[[Message], None]
    """Publish a reply to a direct-reply-to name, which may end the connection that does it."""

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Do *work* in *seconds*, if the connection is still open then."""

    def work_again(self, delivery: Delivery) -> None:
        """Work on *delivery* once more, after all others that are here."""

    def acknowledged(self) -> None:
        """Note that deliveries were acknowledged."""


class Settlement:
    """Publishes what deliveries lead to; acknowledges each delivery when RabbitMQ has confirmed all of that.

    Many are acknowledged at once, up to the first that is not confirmed. Those that wait for room in a full
    queue are passed over, and the ones after them acknowledged one by one: else nothing more would come.
    """

    def __init__(self, channel: Channel, owner: Owner) -> None:
        self.channel = channel
        self.under_way = 0
        """How many messages are delivered and not acknowledged."""
        self._owner = owner
        self._confirms: Confirms[tuple[Message, int]] = Confirms()
        self._unconfirmed: dict[int, int] = {}
        """How many messages must still be confirmed before a delivery is acknowledged, by its tag."""
        self._waiting: set[int] = set()
        """Tags of deliveries that wait for room, or for a queue that was deleted."""
        self._say_again_at = 0.0
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed)  # before it consumes, and so before any reply

    @property
    def is_done(self) -> bool:
        """Nothing waits for a confirm that will come by itself."""
        return self._unconfirmed.keys() <= self._waiting

    def settle(self, outcomes: Iterable[tuple[int, Sequence[Message]]]) -> None:
        """Publish the messages of each outcome; acknowledge its tag when they are confirmed.

        The tag 0 stands for deliveries that cannot be acknowledged any more.
        """
        if not self.channel.is_open:
            return
        for tag, messages in outcomes:
            self._waiting.discard(tag)
            if tag:  # one that is worked on again counts the refused message until now
                self._unconfirmed[tag] = max(0, self._unconfirmed.get(tag, 0) - 1)
            for message in messages:
                self._publish(message, tag)
        self._acknowledge()

    def _publish(self, message: Message, tag: int) -> None:
        if message.is_direct_reply:
            self._owner.reply_directly(message)
            return
        message.publish(self.channel)
        self._confirms.add((message, tag))
        self._count(tag, 1)

    def _count(self, tag: int, messages: int) -> None:
        if tag in self._unconfirmed:
            self._unconfirmed[tag] += messages

    def _confirmed(self, frame: object) -> None:
        method = frame.method  # type: ignore[attr-defined]
        for message, tag in self._confirms.settle(method):
            if isinstance(method, Basic.Nack) and self._refused(message, tag):
                self._waiting.add(tag)
            else:
                self._count(tag, -1)
        self._acknowledge()

    def _acknowledge(self) -> None:
        if not self.channel.is_open:
            return
        done: list[int] = []
        behind: list[int] = []
        """Done, but after a delivery that waits."""
        place = done
        for tag, messages in self._unconfirmed.items():
            if not messages:
                place.append(tag)
            elif tag in self._waiting:
                place = behind
            else:
                break
        if done:
            self.channel.basic_ack(done[-1], multiple=True)
        for tag in behind:
            self.channel.basic_ack(tag, multiple=False)
        for tag in done + behind:
            del self._unconfirmed[tag]
        self.under_way -= len(done) + len(behind)
        self._owner.acknowledged()

    def _returned(
        self, channel: Channel, method: Basic.Return, properties: BasicProperties, body: bytes
    ) -> None:
        """Declare the queue that is gone, and publish the message again.

        The broker confirms a message after it has returned it. So count one confirm more.
        """
        queue = method.routing_key
        log.warning("the queue %s was deleted; declaring it again", queue)
        sent = queue, properties.message_id, body
        for message, tag in self._confirms.waiting:
            if (message.routing_key, message.properties.message_id, message.body) == sent:
                self._count(tag, 1)
                self._waiting.add(tag)
                self._owner.declare(channel, partial(self._publish_again, message, tag))
                return

    def _refused(self, message: Message, tag: int) -> bool:
        """Decide what to do with a message whose queue is full. Return whether its delivery waits."""
        if message.kind is Kind.PETITION:
            full = Overloaded(f"the queue {message.routing_key} is full; try again later")
            for reply in reply_to(message.properties, full):
                self._publish(reply, tag)
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
        elif message.routing_key in self._owner.queues:
            # If all nodes waited for room in a queue that they consume, no node would make room.
            self._owner.work_again(Delivery(self.channel, tag, message.properties, message.body))
            return True
        else:
            if time.monotonic() >= self._say_again_at:  # not for each message and attempt
                self._say_again_at = time.monotonic() + SAY_AGAIN_SECONDS
                log.warning("the queue %s is full; messages wait for room in it", message.routing_key)
            self._owner.later(AGAIN_SECONDS, partial(self._publish_again, message, tag))
            return True
        return False

    def _publish_again(self, message: Message, tag: int) -> None:
        if self.channel.is_open:
            self._waiting.discard(tag)
            self._publish(message, tag)
            self._count(tag, -1)
