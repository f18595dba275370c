"""A delivery and its outcome: done, answered with an error, tried again on the retry queue, or dead-lettered.

A node has many messages at a time. When it dies, any of them may be the cause. So all messages that the
broker delivers again move to the retry queue. From there a node takes one message at a time: if it dies, that
message is the cause.
"""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol
from uuid import uuid4

from pika.channel import Channel
from pika.spec import BasicProperties

from lab.client.retry import Backoff
from lab.errors import DeadlineExceeded, InternalError, LabError, Overloaded, Unavailable, as_text
from lab.store.protocol import IdReused

from .wire import PERSISTENT, UNREADABLE, Kind, Message, dead_of, reply_to, retry_of

log = logging.getLogger(__name__)

MOST_DEATHS = 3
"""So many nodes may end while a message is their only one. Then it is a dead letter.

After a broker was killed, a classic queue marks all its messages as delivered before. A message of the retry
queue then counts one death too many. Few messages are there, and for a short time.
"""
MOST_FAILURES = 4
BETWEEN_ATTEMPTS = Backoff(0.2, 1.0, least_share=1.0)
STORE_BACK_OFF_SECONDS = 0.25
TURN_SECONDS = 0.02
"""A text that the store does not take waits so long. Then it goes behind the others of its queue, so that a
request that waits for a reply, and needs no store, has its turn."""
SAY_AGAIN_SECONDS = 10.0

DEATHS = "lab-deaths"
FAILURES = "lab-failures"
NOT_BEFORE = "lab-not-before"
"""Milliseconds since 1970. Messages that failed together wait together: their back-offs do not add up."""
REASON = "lab-reason"
QUEUE = "lab-queue"
ERROR_ID = "lab-error-id"


class Delivery(NamedTuple):
    """A message that was delivered on a channel and is not acknowledged yet."""

    channel: Channel
    tag: int
    properties: BasicProperties
    body: bytes
    redelivered: bool = False
    """The broker has delivered it before, and it was not acknowledged."""
    consumer: str = ""
    """The tag of the consumer that got it."""


Handler = Callable[[Delivery], list[Message]]
"""Works on a delivery; returns the messages to publish before it is acknowledged."""


class Watch(Protocol):
    """Is told what a consumer does: the autoscaler needs to know how many messages are in flight."""

    def beside(self) -> "Watch":
        """Return the watch of the consumer of the retry queue, which works at the same time."""

    def under_way(self, messages: int) -> None:
        """Note how many messages are delivered and not acknowledged."""

    def begin(self, properties: BasicProperties) -> None:
        """Note that work on a message begins."""

    def end(self) -> None:
        """Note that it ended, well or not."""


class NotFinished(Exception):
    """The delivery must not be acknowledged. The broker gives it to another node when this one leaves."""


class RetryQueue:
    """Decides what happens to messages of *queue* that were delivered before, or that failed.

    A decision is a list of messages. They must be published and confirmed before the message itself is
    acknowledged, so that it is never lost. It may be there twice, with the same ``message_id``.
    """

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.retry = retry_of(queue)
        self.dead = dead_of(queue)

    def move(self, delivery: Delivery) -> list[Message]:
        """Move a message that was delivered before to the retry queue. It counts no death yet."""
        return [self._copy(delivery, {})]

    def after_death(self, delivery: Delivery) -> list[Message]:
        """Count a death: a node ended, or was cut off, while this was its only message."""
        deaths = _count(delivery.properties, DEATHS) + 1
        if deaths >= MOST_DEATHS:
            reason = f"{deaths} nodes ended, or were cut off, while it was their only message"
            return self._dead_letter(delivery, reason)
        return [self._copy(delivery, {DEATHS: deaths, FAILURES: _count(delivery.properties, FAILURES)})]

    def after_failure(self, delivery: Delivery, error: Exception) -> list[Message]:
        """Try a message that wants no reply again later, until it has failed too often."""
        failures = _count(delivery.properties, FAILURES) + 1
        if failures >= MOST_FAILURES:
            reason = f"{failures} attempts at it failed, the last by {type(error).__name__}"
            return self._dead_letter(delivery, reason)
        pause = BETWEEN_ATTEMPTS.pause(failures)
        headers = {FAILURES: failures, NOT_BEFORE: int((time.time() + pause) * 1000)}
        return [self._copy(delivery, headers | {DEATHS: _count(delivery.properties, DEATHS)})]

    def wait(self, delivery: Delivery, pause: Callable[[float], bool]) -> bool:
        """Wait until *delivery* may be tried. Return False if *pause* says that the node stops."""
        due = _count(delivery.properties, NOT_BEFORE) / 1000
        left = min(
            BETWEEN_ATTEMPTS.longest_seconds, due - time.time()
        )  # another machine's clock may be ahead
        return left <= 0 or pause(left)

    def put_back(self, delivery: Delivery) -> list[Message]:
        """Put a message of the retry queue back as it is."""
        names = (DEATHS, FAILURES, NOT_BEFORE)
        return [self._copy(delivery, {name: _count(delivery.properties, name) for name in names})]

    def back_of_queue(self, delivery: Delivery) -> Message:
        """Let a message wait behind the others of its own queue; nothing is counted."""
        return Message(self.queue, delivery.body, _passed_on(delivery.properties, {}), kind=Kind.COPY)

    def refuse(self, delivery: Delivery, error: LabError) -> list[Message]:
        """Answer a message with *error*. A text whose id is another's is put aside if it wants no reply."""
        if delivery.properties.reply_to:
            return reply_to(delivery.properties, error)
        if isinstance(error, IdReused):
            return self._dead_letter(delivery, error.message)
        log.info("refused a message that names no place to reply to: %s", as_text(error))
        return []

    def _copy(self, delivery: Delivery, headers: dict[str, int]) -> Message:
        return Message(self.retry, delivery.body, _passed_on(delivery.properties, headers), kind=Kind.COPY)

    def _dead_letter(self, delivery: Delivery, reason: str) -> list[Message]:
        """Put a message among the dead letters and tell its sender."""
        properties = delivery.properties
        error_id = uuid4().hex[:12]
        log.error("dead letter %s of %s: %s", error_id, self.queue, reason)
        headers = {REASON: reason, QUEUE: self.queue, ERROR_ID: error_id}
        counts = {name: _count(properties, name) for name in (DEATHS, FAILURES)}
        letter = _passed_on(properties, headers | counts)
        letter.timestamp = int(time.time())
        told = InternalError(
            error_id, f"{reason}; it is among the dead letters, {self.dead}, under {error_id}"
        )
        return [Message(self.dead, delivery.body, letter, kind=Kind.COPY), *reply_to(properties, told)]


class Outcome:
    """Lets *handler* work on a delivery, and decides what follows.

    *retries* decides on messages that were delivered before. *is_retry*: the deliveries are those of the
    retry queue. *pause* waits so many seconds; it returns False if the node stops meanwhile.
    """

    def __init__(
        self,
        handler: Handler,
        watch: Watch | None,
        retries: RetryQueue | None,
        is_retry: bool,
        pause: Callable[[float], bool],
    ) -> None:
        self._handler = handler
        self._watch = watch
        self._retries = retries
        self._is_retry = is_retry
        self._pause = pause
        self._say_again_at = 0.0

    def _say_away(self, error: LabError) -> None:
        """Log that the store is away, at most once in ten seconds."""
        if time.monotonic() >= self._say_again_at:
            self._say_again_at = time.monotonic() + SAY_AGAIN_SECONDS
            log.warning("waiting for the store: %s", error)

    def of(self, delivery: Delivery) -> list[Message]:
        """Return the messages to publish before *delivery* is acknowledged; or raise NotFinished."""
        if self._retries and (self._is_retry or delivery.redelivered):
            if delivery.redelivered:
                decide = self._retries.after_death if self._is_retry else self._retries.move
                return decide(delivery)
            if not self._retries.wait(delivery, self._pause):
                return self._retries.put_back(delivery)
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
            except (Unavailable, Overloaded, DeadlineExceeded) as error:  # the fault of the store
                if delivery.properties.reply_to:
                    return reply_to(delivery.properties, error)
                self._say_away(error)
                goes_back = self._retries if not self._is_retry else None
                if not self._pause(TURN_SECONDS if goes_back else STORE_BACK_OFF_SECONDS):
                    raise NotFinished from error
                if goes_back:
                    return [goes_back.back_of_queue(delivery)]
            except LabError as error:
                if self._retries and isinstance(error, InternalError) and not delivery.properties.reply_to:
                    return self._retries.after_failure(delivery, error)
                if self._retries:
                    return self._retries.refuse(delivery, error)
                return reply_to(delivery.properties, error)
            except Exception as error:
                error_id = uuid4().hex[:12]
                log.exception("a message failed, error id %s", error_id)
                if self._retries and not delivery.properties.reply_to:
                    return self._retries.after_failure(delivery, error)
                return reply_to(delivery.properties, InternalError(error_id))


def _count(properties: BasicProperties, name: str) -> int:
    """Return a number from our headers. A stranger may write there: return 0 for anything that cannot be."""
    value = (properties.headers or {}).get(name, 0)
    return value if isinstance(value, int) and 0 <= value < 2**53 else 0


def _passed_on(
    properties: BasicProperties, headers: dict[str, int] | dict[str, str | int]
) -> BasicProperties:
    """Return the properties of a copy: those that we read, and none that makes it expire."""
    given = properties.headers or {}
    kept: dict[str, object] = {UNREADABLE: True} if UNREADABLE in given else {}
    if "operation" in given:
        operation = given["operation"]  # anything but text is an unknown operation; keep only its beginning
        kept["operation"] = operation if isinstance(operation, str | bytes) else str(operation)[:60]
    return BasicProperties(
        type=properties.type,
        content_encoding=properties.content_encoding,
        headers=kept | headers,
        reply_to=properties.reply_to,
        correlation_id=properties.correlation_id,
        message_id=properties.message_id,
        delivery_mode=PERSISTENT,
    )
