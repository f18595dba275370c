"""What the clients of both applications share: requests confirmed, replies told apart by their ids."""

import json
import threading
import time
from collections import deque
from concurrent.futures import Future
from types import TracebackType
from typing import Self, cast

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from lab.contract import Target
from lab.errors import DeadlineExceeded, InternalError, Overloaded, Unavailable
from lab.ids import new_operation_id
from lab.operations import Operation, bind
from lab.settings import settings

from ._link import Link
from ._queues import declare_broadcast, declare_queues
from ._wire import PERSISTENT, SERVICE_CODES, Message, Names, read_reply

MOST_UNSENT = 10_000
_SERVICE_CODES = {operation: code for code, operation in SERVICE_CODES.items()}


class QueueClient:
    """Sends requests to the queues of *target* and receives replies on an exclusive queue of its own.

    Safe to call from any thread. A request whose connection breaks before its reply is Unavailable.
    """

    def __init__(self, target: Target, deadline_seconds: float) -> None:
        self.deadline_seconds = deadline_seconds
        self.names = Names(target.namespace)
        self._replies: dict[str, Future[object]] = {}
        self._unconfirmed: deque[tuple[int, Future[object]]] = deque()
        self._outbox: deque[tuple[Message, Future[object] | None]] = deque()
        self._flushing = False
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._published = 0
        self.reply_queue = ""
        self._link = Link(target.address, self._set_up, self._lost)
        self._link.start()

    def ask(self, queue: str, code: str, body: bytes = b"", deadline_seconds: float = 0.0) -> object:
        """Return the answer to a request, or raise the LabError it is."""
        operation_id = new_operation_id()
        future = self.send(queue, code, body, operation_id)
        return self.answer(
            operation_id, future, time.monotonic() + (deadline_seconds or self.deadline_seconds)
        )

    def send(self, queue: str, code: str, body: bytes, operation_id: str) -> "Future[object]":
        """Publish a request that wants a reply; return the reply to come."""
        future: Future[object] = Future()
        properties = BasicProperties(
            type=code or None,
            message_id=operation_id,
            correlation_id=operation_id,
            reply_to=self.reply_queue,
            delivery_mode=PERSISTENT,
        )
        self._replies[operation_id] = future
        self._publish(Message(queue, body, properties), None)
        return future

    def answer(self, operation_id: str, future: "Future[object]", deadline: float) -> object:
        """Wait for the reply to a request until *deadline*."""
        try:
            answer = future.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError as error:
            raise DeadlineExceeded("no reply in time; is a node running?") from error
        finally:
            self._replies.pop(operation_id, None)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def store(self, queue: str, body: bytes, operation_id: str) -> None:
        """Publish a request that wants no reply; return when the broker confirmed that it keeps it."""
        future: Future[object] = Future()
        properties = BasicProperties(message_id=operation_id, delivery_mode=PERSISTENT)
        self._publish(Message(queue, body, properties), future)
        try:
            future.result(self.deadline_seconds)
        except TimeoutError as error:
            raise DeadlineExceeded(
                "RabbitMQ did not confirm in time; is it out of memory or disk?"
            ) from error

    def close(self) -> None:
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _publish(self, message: Message, confirmed: "Future[object] | None") -> None:
        """Put *message* in the outbox; one wake-up of the I/O thread sends all that is there."""
        if len(self._outbox) >= MOST_UNSENT:
            raise Overloaded(f"{MOST_UNSENT} requests wait to be sent; RabbitMQ takes no more for now")
        with self._lock:
            self._outbox.append((message, confirmed))
            wake = not self._flushing
            self._flushing = True
        if wake and not self._link.call(self._flush):
            self._lost()
            raise Unavailable("the connection to RabbitMQ is lost; it is being opened again")

    # In the I/O thread.

    def _flush(self) -> None:
        with self._lock:
            outbox, self._outbox = self._outbox, deque()
            self._flushing = False
        channel = self._channel
        if channel is None or not channel.is_open:
            self._fail([future for _, future in outbox if future])
            return
        for message, confirmed in outbox:
            channel.basic_publish(message.exchange, message.routing_key, message.body, message.properties)
            self._published += 1
            if confirmed:
                self._unconfirmed.append((self._published, confirmed))

    def _set_up(self, link: Link) -> None:
        link.open_channel(self._declare)

    def _declare(self, channel: Channel) -> None:
        self._published = 0

        def declared(frame: object) -> None:
            self.reply_queue = frame.method.queue  # type: ignore[attr-defined]
            channel.basic_consume(self.reply_queue, self._received, auto_ack=True, callback=consuming)

        def consuming(_: object) -> None:
            channel.confirm_delivery(self._confirmed, callback=confirming)

        def confirming(_: object) -> None:
            # Only now: pika sends a publish ahead of a select that waits, and confirms count from that.
            self._channel = channel
            self._link.ready()

        def own_queue() -> None:
            channel.queue_declare("", exclusive=True, callback=declared)

        def broadcast() -> None:
            declare_broadcast(channel, self.names, own_queue)

        # Clients declare too: what is sent while no node is up waits for one.
        declare_queues(channel, self.names.queues, settings().queue_type, broadcast)

    def _received(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        future = self._replies.get(properties.correlation_id or "")
        if future and not future.done():
            future.set_result(read_reply(properties, body))

    def _confirmed(self, frame: object) -> None:
        method = frame.method  # type: ignore[attr-defined]
        while self._unconfirmed and self._unconfirmed[0][0] <= method.delivery_tag:
            _, future = self._unconfirmed.popleft()
            if future.done():
                continue
            if isinstance(method, Basic.Nack):
                future.set_exception(InternalError("nack", "RabbitMQ could not keep the message"))
            else:
                future.set_result(None)

    def _lost(self) -> None:
        self._channel = None
        waiting = [future for _, future in self._unconfirmed]
        self._unconfirmed.clear()
        with self._lock:
            waiting += [future for _, future in self._outbox if future]
            self._outbox.clear()
            self._flushing = False
        self._fail(waiting + list(self._replies.values()))

    def _fail(self, futures: "list[Future[object]]") -> None:
        for future in futures:
            if not future.done():
                future.set_exception(Unavailable("the connection to RabbitMQ broke before the reply came"))


class ServiceQueueClient(QueueClient):
    """Sends the InsultService's operations as events."""

    def perform(self, operation: Operation, *arguments: object) -> object:
        """Return the answer to *operation*: an insult is a text, other arguments are JSON."""
        if operation in (Operation.ADD_INSULT, Operation.REMOVE_INSULT):
            body = cast(str, arguments[0]).encode()
        else:
            fields = bind(operation, arguments)
            body = json.dumps(fields).encode() if fields else b""
        code = "" if operation is Operation.ADD_INSULT else _SERVICE_CODES[operation]
        return self.ask(self.names.service, code, body)
