"""What the clients of both applications share: requests confirmed, replies told apart by their ids."""

import json
import time
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self, cast

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from lab.client.connection import after_fork
from lab.client.retry import LEAST_DEADLINE_SECONDS, suspect_after
from lab.contract import Target
from lab.errors import DeadlineExceeded, InternalError, LabError, Overloaded, Unavailable
from lab.ids import new_operation_id
from lab.operations import Operation, bind
from lab.settings import settings

from ._link import Link
from ._pending import Pending, Request
from ._queues import declare_broadcast, declare_queues
from ._wire import PERSISTENT, SERVICE_CODES, Message, Names, read_reply

_SERVICE_CODES = {operation: code for code, operation in SERVICE_CODES.items()}


class QueueClient:
    """Sends requests to the queues of *target* and receives replies on an exclusive queue of its own.

    Safe to call from any thread. While RabbitMQ is away, requests wait; when it is back, all that have no
    answer are sent, once more if need be, with the same id, as long as their senders wait.
    """

    def __init__(self, target: Target, deadline_seconds: float) -> None:
        self.deadline_seconds = deadline_seconds
        self.names = Names(target.namespace)
        self._pending = Pending()
        self._unconfirmed: deque[tuple[int, Request]] = deque()
        self._channel: Channel | None = None
        self._published = 0
        self._reply_queue = ""
        self._link = Link(target.address, self._set_up, self._lost, self._flush)
        self._link.start()
        self._is_forked = False
        after_fork(self)

    def forked(self) -> None:
        """Refuse every call in a forked process: the thread that does the I/O does not exist there."""
        self._is_forked = True

    def ask(self, queue: str, code: str, body: bytes = b"", deadline_seconds: float = 0.0) -> object:
        """Return the answer to a request, or raise the LabError it is."""
        operation_id = new_operation_id()
        request = self.send(queue, code, body, operation_id)
        return self.answer(
            operation_id, request, time.monotonic() + (deadline_seconds or self.deadline_seconds)
        )

    def send(self, queue: str, code: str, body: bytes, operation_id: str) -> Request:
        """Send a request that wants a reply; follow with :meth:`answer` or :meth:`forget`."""
        properties = BasicProperties(
            type=code or None,
            message_id=operation_id,
            correlation_id=operation_id,
            delivery_mode=PERSISTENT,
        )
        return self._send(operation_id, Request(Message(queue, body, properties), wants_reply=True))

    def answer(self, operation_id: str, request: Request, deadline: float) -> object:
        """Wait for the reply to a request, or its confirmation, until *deadline*."""
        left = deadline - time.monotonic()
        try:
            if left >= LEAST_DEADLINE_SECONDS:
                with suppress(TimeoutError):
                    return request.answer.result(suspect_after(left))
                self._link.doubt()
            return request.answer.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError as error:
            raise self._too_late(request) from error
        finally:
            self._pending.forget(operation_id)

    def forget(self, operation_id: str) -> None:
        """Wait no longer for the reply to a request."""
        self._pending.forget(operation_id)

    def store(self, queue: str, body: bytes, operation_id: str) -> None:
        """Publish a request that wants no reply; return when the broker confirmed that it keeps it."""
        properties = BasicProperties(message_id=operation_id, delivery_mode=PERSISTENT)
        request = self._send(operation_id, Request(Message(queue, body, properties), wants_reply=False))
        self.answer(operation_id, request, time.monotonic() + self.deadline_seconds)

    def close(self) -> None:
        if self._is_forked:
            return  # it is the other process's
        self._link.close()
        self._pending.settle_all(Unavailable("the client was closed"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, operation_id: str, request: Request) -> Request:
        """Keep *request*; one wake-up of the I/O thread sends all that is there."""
        if self._is_forked:
            raise Unavailable("this client was opened before a fork; open one in the new process")
        if self._pending.add(operation_id, request):
            self._link.call(self._flush)
        return request

    def _too_late(self, request: Request) -> LabError:
        """Say why there was no answer in time."""
        if request.sent:
            if request.wants_reply:
                return DeadlineExceeded("no reply in time; is a node running?")
            return DeadlineExceeded("RabbitMQ did not confirm in time; is it out of memory or disk?")
        if self._link.is_blocked:
            return Overloaded("RabbitMQ takes nothing for now: it is out of memory or disk; it was not sent")
        return Unavailable("the connection to RabbitMQ was lost and is being opened again; it was not sent")

    # In the I/O thread.

    def _flush(self) -> None:
        """Send what is to be sent, if that is possible now; whoever makes it possible calls this again."""
        channel = self._channel
        if channel is None or not channel.is_open or self._link.is_blocked:
            return
        for request in self._pending.take():
            message = request.message
            if request.wants_reply:
                message.properties.reply_to = self._reply_queue
            channel.basic_publish(message.exchange, message.routing_key, message.body, message.properties)
            self._published += 1
            if not request.wants_reply:
                self._unconfirmed.append((self._published, request))

    def _set_up(self, link: Link) -> None:
        link.open_channel(self._declare)

    def _declare(self, channel: Channel) -> None:
        self._published = 0

        def declared(frame: object) -> None:
            self._reply_queue = frame.method.queue  # type: ignore[attr-defined]
            channel.basic_consume(self._reply_queue, self._received, auto_ack=True, callback=consuming)

        def consuming(_: object) -> None:
            channel.confirm_delivery(self._confirmed, callback=confirming)

        def confirming(_: object) -> None:
            # Only now: pika sends a publish ahead of a select that waits, and confirms count from that.
            self._channel = channel
            self._link.ready()
            self._pending.send_again()
            self._flush()

        def own_queue() -> None:
            channel.queue_declare("", exclusive=True, callback=declared)

        def broadcast() -> None:
            declare_broadcast(channel, self.names, own_queue)

        # Clients declare too: what is sent while no node is up waits for one.
        declare_queues(channel, self.names.requests, settings().queue_type, broadcast)

    def _received(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        request = self._pending.get(properties.correlation_id or "")
        if request:
            request.settle(read_reply(properties, body))

    def _confirmed(self, frame: object) -> None:
        method = frame.method  # type: ignore[attr-defined]
        is_kept = not isinstance(method, Basic.Nack)
        while self._unconfirmed and self._unconfirmed[0][0] <= method.delivery_tag:
            _, request = self._unconfirmed.popleft()
            request.settle(None if is_kept else InternalError("nack", "RabbitMQ could not keep the message"))

    def _lost(self) -> None:
        self._channel = None
        self._unconfirmed.clear()


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
