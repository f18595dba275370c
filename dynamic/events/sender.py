"""Send events, know which of them the broker keeps, and see them finished."""

import threading
import time
from collections.abc import Callable

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from dynamic.events import EventNames, declare_events, event
from lab.contract import Closing
from lab.errors import Overloaded
from lab.settings import settings
from rabbitmq.tuned.connection import Confirms, Connection
from rabbitmq.tuned.wire import Message, arguments_of

MOST_UNCONFIRMED = 100_000
"""Events kept for the time that the broker is away or slow; beyond, sending is refused."""
FULL_SECONDS = 0.1
"""After the broker refused an event: for so long nothing more is sent to it."""
RESTORE_SECONDS = 1.0
"""How often queues and exchange are declared while events are sent. The broker returns an event that reaches
no queue; it does not tell that only Work_queue was deleted."""
COMPLETIONS_PREFETCH = 1000

Finished = Callable[[str, int, bytes], None]
"""Told an event's id, when its answer came (nanoseconds of the monotonic clock), and the answer."""


class _Connected(Closing):
    """Has a connection to RabbitMQ, and closes it; a context manager."""

    _connection: Connection

    def close(self) -> None:
        self._connection.close()


class EventSender(_Connected):
    """Publishes to the events' exchange; safe to call from one thread beside its own.

    At least once: what was not confirmed before a connection broke is sent again under the same id. What the
    broker refuses is not sent again; :attr:`refused` counts it.
    """

    def __init__(self, url: str, names: EventNames, queue_type: str = "") -> None:
        self._names = names
        self._queue_type = queue_type or settings().queue_type
        self._waiting: dict[str, Message] = {}
        """Not confirmed, by event id, in the order in which they were sent."""
        self._confirms = Confirms[str]()
        self._sent: set[str] = set()
        """Those of them that are on their way on the present connection."""
        self._unrouted: set[str] = set()
        """Those of them that the broker returned, because they reached no queue."""
        self._repeated: set[str] = set()
        """Those that are published a second time because of that."""
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._is_restoring = False
        self._declared_at = self._full_until = 0.0
        self.confirmed = 0
        """Events that the broker keeps for sure."""
        self.refused = 0
        """Events that the broker does not keep: Work_queue is full, or none can be declared."""
        self._connection = Connection(url, self._set_up, self._lost)
        self._connection.start()

    @property
    def unconfirmed(self) -> int:
        """Events sent, or kept to be sent, of which the broker has not said whether it keeps them."""
        return len(self._waiting)

    def send(self, text: str, event_id: str, due_ns: int, reply_to: str = "") -> None:
        """Send an event; Overloaded if the broker has just refused one, or if too many wait already."""
        if time.monotonic() < self._full_until:
            raise Overloaded(f"RabbitMQ refused an event: {self._names.work} is full")
        if len(self._waiting) >= MOST_UNCONFIRMED:
            raise Overloaded(f"{MOST_UNCONFIRMED} events are not confirmed; RabbitMQ takes no more now")
        message = event(self._names, text, event_id, due_ns, reply_to)
        with self._lock:
            self._waiting[event_id] = message
        self._connection.call(lambda: self._publish(event_id, message))

    def settle(self, timeout_seconds: float) -> bool:
        """Wait until the broker has confirmed or refused everything; False if that takes longer."""
        deadline = time.monotonic() + timeout_seconds
        while self._waiting and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self._waiting

    # In the I/O thread.

    def _publish(self, event_id: str, message: Message) -> None:
        channel = self._channel
        if channel is None or not channel.is_open:  # it is sent when there is a connection again
            return
        if event_id in self._sent or event_id not in self._waiting:  # a new connection has sent it already
            return
        if time.monotonic() - self._declared_at > RESTORE_SECONDS:
            self._restore(channel)
        channel.basic_publish(
            message.exchange, message.routing_key, message.body, message.properties, mandatory=True
        )
        self._sent.add(event_id)
        self._confirms.add(event_id)

    def _set_up(self, connection: Connection) -> None:
        connection.open_channel(self._declare)

    def _declare(self, channel: Channel) -> None:
        channel.add_on_return_callback(self._not_routed)
        self._declared_at = time.monotonic()
        declare_events(
            channel,
            self._names,
            self._queue_type,
            lambda _: channel.confirm_delivery(self._confirmed, callback=lambda _: self._ready(channel)),
        )

    def _restore(self, channel: Channel) -> None:
        """Declare what may have been deleted, then publish again what reached no queue."""
        if self._is_restoring or channel is not self._channel:
            return
        self._is_restoring = True
        self._declared_at = time.monotonic()
        declare_events(channel, self._names, self._queue_type, lambda _: self._restored())

    def _restored(self) -> None:
        self._is_restoring = False
        for event_id in self._repeated - self._sent:
            message = self._waiting.get(event_id)
            if message:
                self._publish(event_id, message)

    def _ready(self, channel: Channel) -> None:
        self._channel = channel
        with self._lock:
            again = list(self._waiting.items())
        for event_id, message in again:
            self._publish(event_id, message)
        self._connection.ready()

    def _not_routed(
        self, channel: Channel, method: Basic.Return, properties: BasicProperties, body: bytes
    ) -> None:
        """Note an event that reached no queue; the broker confirms it right afterwards."""
        self._unrouted.add(properties.message_id or "")

    def _confirmed(self, frame: object) -> None:
        method = frame.method  # type: ignore[attr-defined]
        for event_id in self._confirms.settle(method):
            self._settled(event_id, is_kept=isinstance(method, Basic.Ack))

    def _settled(self, event_id: str, *, is_kept: bool) -> None:
        message = self._waiting.get(event_id)
        if message is None:
            return
        self._sent.discard(event_id)
        is_unrouted = event_id in self._unrouted
        self._unrouted.discard(event_id)
        if is_kept and is_unrouted and event_id not in self._repeated:
            self._repeated.add(event_id)
            if self._channel:
                self._restore(self._channel)
            return
        self._repeated.discard(event_id)
        with self._lock:
            del self._waiting[event_id]
        if is_kept and not is_unrouted:
            self.confirmed += 1
        else:
            self.refused += 1
            self._full_until = time.monotonic() + FULL_SECONDS

    def _lost(self) -> None:
        self._channel, self._is_restoring = None, False
        self._confirms.clear()
        for events in (self._sent, self._unrouted, self._repeated):
            events.clear()


class Completions(_Connected):
    """Calls *finished*, in a thread of its own, for every answer in the namespace's queue of answers.

    The queue is durable and answers are as persistent as their events, so that a broker's restart loses none.
    A queue that is deleted is declared and consumed again. The answers in it are lost.
    """

    def __init__(self, url: str, names: EventNames, finished: Finished) -> None:
        self._names = names
        self._finished = finished
        self._connection = Connection(url, self._set_up, lambda: None)
        self._connection.start()

    # In the I/O thread.

    def _set_up(self, connection: Connection) -> None:
        connection.open_channel(self._declare)

    def _declare(self, channel: Channel) -> None:
        def declared(_: object) -> None:
            channel.basic_qos(prefetch_count=COMPLETIONS_PREFETCH)
            channel.basic_consume(
                self._names.done, self._received, callback=lambda _: self._connection.ready()
            )

        arguments = arguments_of("classic")
        channel.queue_declare(self._names.done, durable=True, arguments=arguments, callback=declared)

    def _received(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        self._finished(properties.correlation_id or "", time.monotonic_ns(), body)
        channel.basic_ack(method.delivery_tag)
