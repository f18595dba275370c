"""Events: what publishers send to a fanout exchange, which copies each to Work_queue and Count_queue."""

from functools import cache
from pathlib import Path

from pika import DeliveryMode
from pika.spec import BasicProperties

from rabbitmq.transport import Message, Names

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
        self.done = f"{namespace}.done"
        """Where an experiment has its events answered."""


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
    except OSError:  # not Linux: nobody else's clock is known to be the same
        return ""
