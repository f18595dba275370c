"""The two lanes of a queue: what was delivered before, or failed, is worked on alone, and not for ever.

A worker has many messages under way, so when it dies nobody knows which of them killed it. All that the
broker delivers again move to the suspect queue. There a node has one at a time: who dies then, died of it.
"""

import logging
import time
from collections.abc import Callable
from uuid import uuid4

from pika.spec import BasicProperties

from lab.errors import InternalError

from ._delivery import Delivery
from ._tolerance import UNREADABLE
from ._wire import PERSISTENT, Kind, Message, dead_of, reply_to, suspect_of

log = logging.getLogger(__name__)

MOST_DEATHS = 3
"""So many nodes may end while they have a message alone.

After a broker was killed, a classic queue says of every message in it that it was delivered before. A message
that waits among the suspects then has a death too many; few wait there, and not for long.
"""
MOST_FAILURES = 4
FIRST_BACK_OFF_SECONDS = 0.2
LONGEST_BACK_OFF_SECONDS = 1.0

DEATHS = "lab-deaths"
FAILURES = "lab-failures"
NOT_BEFORE = "lab-not-before"
"""Milliseconds since 1970. Messages that failed together wait together: the back-offs do not add up."""
REASON = "lab-reason"
QUEUE = "lab-queue"
ERROR_ID = "lab-error-id"


class Suspects:
    """Decides what becomes of the messages of *queue* that were delivered before or whose work failed.

    Every decision is a list of messages to be published, and confirmed, before the one in question is
    acknowledged: at no time is there none. What is published twice is told by its ``message_id``.
    """

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.suspect = suspect_of(queue)
        self.dead = dead_of(queue)

    def move(self, delivery: Delivery) -> list[Message]:
        """Put a message that was delivered again among the suspects; nothing is held against it yet."""
        return [self._suspect(delivery, {})]

    def after_death(self, delivery: Delivery) -> list[Message]:
        """Count against a suspect that whoever had it alone ended, or was cut off."""
        deaths = _count(delivery.properties, DEATHS) + 1
        if deaths >= MOST_DEATHS:
            return self._bury(
                delivery, f"{deaths} nodes ended, or were cut off, while they worked on it alone"
            )
        return [self._suspect(delivery, {DEATHS: deaths, FAILURES: _count(delivery.properties, FAILURES)})]

    def after_failure(self, delivery: Delivery, error: Exception) -> list[Message]:
        """Try a message that nobody waits for again later, until it has failed often enough."""
        failures = _count(delivery.properties, FAILURES) + 1
        if failures >= MOST_FAILURES:
            return self._bury(
                delivery, f"{failures} attempts at it failed, the last by {type(error).__name__}"
            )
        pause = min(LONGEST_BACK_OFF_SECONDS, FIRST_BACK_OFF_SECONDS * 2 ** (failures - 1))
        headers = {FAILURES: failures, NOT_BEFORE: int((time.time() + pause) * 1000)}
        return [self._suspect(delivery, headers | {DEATHS: _count(delivery.properties, DEATHS)})]

    def wait(self, delivery: Delivery, pause: Callable[[float], bool]) -> bool:
        """Wait until *delivery* may be tried; False if *pause* says that there is no time for that."""
        due = _count(delivery.properties, NOT_BEFORE) / 1000
        left = min(LONGEST_BACK_OFF_SECONDS, due - time.time())  # another machine's clock may be ahead
        return left <= 0 or pause(left)

    def put_back(self, delivery: Delivery) -> list[Message]:
        """Put a suspect back as it is."""
        names = (DEATHS, FAILURES, NOT_BEFORE)
        return [self._suspect(delivery, {name: _count(delivery.properties, name) for name in names})]

    def _suspect(self, delivery: Delivery, headers: dict[str, int]) -> Message:
        return Message(self.suspect, delivery.body, _copy(delivery.properties, headers), kind=Kind.COPY)

    def _bury(self, delivery: Delivery, reason: str) -> list[Message]:
        """Put a message among the dead letters and tell its sender."""
        properties = delivery.properties
        error_id = uuid4().hex[:12]
        log.error("dead letter %s of %s: %s", error_id, self.queue, reason)
        headers = {REASON: reason, QUEUE: self.queue, ERROR_ID: error_id}
        counts = {name: _count(properties, name) for name in (DEATHS, FAILURES)}
        letter = _copy(properties, headers | counts)
        letter.timestamp = int(time.time())
        told = InternalError(
            error_id, f"{reason}; it is among the dead letters, {self.dead}, under {error_id}"
        )
        return [Message(self.dead, delivery.body, letter, kind=Kind.COPY), *reply_to(properties, told)]


def _count(properties: BasicProperties, name: str) -> int:
    """Return a number that we wrote into the headers; anybody may write there, so 0 for anything else."""
    value = (properties.headers or {}).get(name, 0)
    return value if isinstance(value, int) and 0 <= value < 2**53 else 0


def _copy(properties: BasicProperties, headers: dict[str, int] | dict[str, str | int]) -> BasicProperties:
    """Return what a message is passed on with: what we read of it, nothing that makes it expire."""
    given = properties.headers or {}
    kept: dict[str, object] = {UNREADABLE: True} if UNREADABLE in given else {}
    if "operation" in given:
        operation = given["operation"]  # what is no text is an unknown operation, and need not fit elsewhere
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
