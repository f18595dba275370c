"""Events: what publishers send to a fanout exchange, which copies each to Work_queue and Count_queue.

Controller, workers and publishers each declare and bind all of it, and repeat that when something was
deleted. So the order of the starts does not matter, and what is deleted by hand soon exists again.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pika import DeliveryMode
from pika.channel import Channel
from pika.spec import BasicProperties

from rabbitmq.tuned.queues import arguments_of, declare_retries
from rabbitmq.tuned.wire import Message, Names, retry_of

MOST_COUNTED = 1_000_000
"""Copies that Count_queue keeps: many more than come between two readings, so that none is missed."""
EXPIRY_MS = 3_600_000
"""Count_queue is deleted an hour after the last controller, worker or publisher declared it."""
COUNT_ARGUMENTS: Mapping[str, object] = {
    "x-queue-type": "classic",
    "x-max-length": MOST_COUNTED,
    "x-overflow": "drop-head",
    "x-expires": EXPIRY_MS,
}

PLANNED = "planned_ns"
"""Header: when the event was due, nanoseconds of the monotonic clock of the host in CLOCK."""
CLOCK = "clock"
"""Header: which clock that is. Clocks of different hosts are never subtracted."""


class EventNames(Names):
    """Names.work is Work_queue; :attr:`count` is Count_queue, :attr:`events` the exchange before both."""

    def __init__(self, namespace: str) -> None:
        super().__init__(namespace, work="Work_queue")
        self.events = f"{namespace}.events"
        self.count = f"{namespace}.Count_queue"
        self.controller = f"{namespace}.controller"
        """An exclusive queue that the one controller holds."""
        self.done = f"{namespace}.done"
        """The queue of answers to an experiment's events."""

    def bind(self, channel: Channel) -> None:
        """Declare the exchange and Count_queue, and bind both queues; Work_queue must be declared."""
        channel.exchange_declare(self.events, "fanout", durable=True)
        channel.queue_declare(self.count, durable=True, arguments=dict(COUNT_ARGUMENTS))
        for queue in (self.work, self.count):
            channel.queue_bind(queue, self.events)


def declare_events(channel: Channel, names: EventNames, queue_type: str, then: Callable[[int], None]) -> None:
    """Declare and bind all that events need, then call *then* with the number of events that wait.

    It changes nothing that is there. Those that were delivered before and wait for another try count too.
    """
    waiting = 0

    def count(frame: Any) -> None:
        nonlocal waiting
        waiting += frame.method.message_count

    def all_there(frame: Any) -> None:
        count(frame)
        then(waiting)

    declare_retries(channel, [names.work], queue_type, lambda: None)
    channel.queue_declare(names.work, durable=True, arguments=arguments_of(queue_type), callback=count)
    names.bind(channel)
    retries = retry_of(names.work)
    channel.queue_declare(retries, durable=True, arguments=arguments_of(queue_type), callback=all_there)


def event(names: EventNames, text: str, event_id: str, due_ns: int, reply_to: str = "") -> Message:
    """Return the event that a publisher sends: a text to filter, due at *due_ns* of the monotonic clock."""
    properties = BasicProperties(
        message_id=event_id,
        correlation_id=event_id if reply_to else None,
        reply_to=reply_to or None,
        headers={PLANNED: due_ns, CLOCK: clock()},
        delivery_mode=DeliveryMode.Persistent.value,
    )
    return Message("", text.encode(), properties, names.events)


def planned_ns(properties: BasicProperties) -> int:
    """Return when an event was due, by this host's monotonic clock; 0 if it does not say so, or another's."""
    headers = properties.headers or {}
    due_ns = headers.get(PLANNED)
    return due_ns if isinstance(due_ns, int) and headers.get(CLOCK) == clock() else 0


@cache
def clock() -> str:
    """Return which clock time.monotonic_ns() reads here: the kernel's name for this boot of this host."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # not Linux: no other clock is known to be the same
        return ""
