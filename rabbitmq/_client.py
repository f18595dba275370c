"""What the clients of both applications share: requests confirmed, replies told apart by their ids."""

import json
import logging
import time
from contextlib import suppress
from types import TracebackType
from typing import Self, cast

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from lab.client.connection import after_fork
from lab.client.retry import LEAST_DEADLINE_SECONDS, suspect_after
from lab.contract import Target
from lab.errors import DeadlineExceeded, LabError, Overloaded, Unavailable
from lab.ids import new_operation_id
from lab.operations import Operation, bind
from lab.settings import settings
from lab.validation import clean_deadline

from ._link import Confirms, Link
from ._pending import Pending, Request
from ._queues import declare_broadcast, declare_queues
from ._wire import PERSISTENT, SERVICE_CODES, Kind, Message, Names, read_reply

log = logging.getLogger(__name__)

BLOCKED = "RabbitMQ takes nothing for now: it is out of memory or disk; try again later"
_SERVICE_CODES = {operation: code for code, operation in SERVICE_CODES.items()}


class QueueClient:
    """Sends requests to the queues of *target* and receives replies on an exclusive queue of its own.

    Any number of threads may share it. A forked process is refused with it, and must open one of its own.
    While RabbitMQ is away, requests wait. When it is back, all that have no answer are sent again with the
    same id, as long as their senders wait. A request ends at once if RabbitMQ refuses it or has no queue for
    it, or is out of memory or disk.
    """

    def __init__(self, target: Target, deadline_seconds: float) -> None:
        self.deadline_seconds = clean_deadline(deadline_seconds)
        self.names = Names(target.namespace)
        self._pending = Pending()
        self._confirms: Confirms[Request] = Confirms()
        self._channel: Channel | None = None
        self._is_declaring = False
        self._reply_queue = ""
        self._link = Link(target.address, self._set_up, self._lost, self._blocked)
        self._link.start()
        self._is_forked = False
        after_fork(self)

    def forked(self) -> None:
        """Refuse every call in a forked process: the thread that does the I/O does not exist there."""
        self._is_forked = True

    def ask(self, queue: str, code: str, body: bytes = b"", deadline_seconds: float = 0.0) -> object:
        """Return the answer to a request, or raise the LabError it is."""
        operation_id = new_operation_id()
        deadline = time.monotonic() + (deadline_seconds or self.deadline_seconds)
        try:
            return self.answer(operation_id, self.send(queue, code, body, operation_id), deadline)
        finally:  # an interrupt may have come before its answer was waited for
            self._pending.forget(operation_id)

    def send(self, queue: str, code: str, body: bytes, operation_id: str) -> Request:
        """Send a request that wants a reply; follow with :meth:`answer` or :meth:`forget`."""
        properties = BasicProperties(
            type=code or None,
            message_id=operation_id,
            correlation_id=operation_id,
            delivery_mode=PERSISTENT,
        )
        return self._send(operation_id, Request(Message(queue, body, properties, kind=Kind.PETITION), True))

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
        message = Message(queue, body, properties, kind=Kind.PETITION)
        deadline = time.monotonic() + self.deadline_seconds
        try:
            self.answer(operation_id, self._send(operation_id, Request(message, False)), deadline)
        finally:
            self._pending.forget(operation_id)

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
        if self._link.is_blocked:
            raise Overloaded(BLOCKED)
        try:
            if self._pending.add(operation_id, request):
                self._link.call(self._flush)
        except BaseException:  # interrupted: nobody else would send what comes after it
            self._pending.forget(operation_id)
            raise
        return request

    def _too_late(self, request: Request) -> LabError:
        """Say why there was no answer in time."""
        if request.sent:
            if request.wants_reply:
                return DeadlineExceeded("no reply in time; is a node running?")
            return DeadlineExceeded("RabbitMQ did not confirm in time; is it out of memory or disk?")
        return Unavailable("the connection to RabbitMQ was lost and is being opened again; it was not sent")

    # In the I/O thread.

    def _flush(self) -> None:
        """Send what is to be sent, if that is possible now; :meth:`_declare` calls this again when it is."""
        channel = self._channel
        if channel is None or not channel.is_open:
            return
        for request in self._pending.take():
            message = request.message
            if request.wants_reply:
                message.properties.reply_to = self._reply_queue
            message.publish(channel)
            self._confirms.add(request)

    def _set_up(self, link: Link) -> None:
        link.open_channel(self._declare)

    def _declare(self, channel: Channel) -> None:
        self._confirms.clear()
        self._is_declaring = False
        channel.add_on_return_callback(self._returned)

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
        for request in self._confirms.settle(method):
            if not is_kept:
                queue = request.message.routing_key
                request.settle(Overloaded(f"RabbitMQ refused it: {queue} is full; try again later"))
            elif not request.wants_reply:
                request.settle(None)

    def _returned(
        self, channel: Channel, method: Basic.Return, properties: BasicProperties, body: bytes
    ) -> None:
        """Tell the sender that there is no queue for its request, and declare the queues again."""
        queue = method.routing_key
        request = self._pending.get(properties.message_id or "")
        if request:
            request.settle(Unavailable(f"the queue {queue} was deleted; it is declared again now: try again"))
        if self._is_declaring:
            return
        self._is_declaring = True
        log.warning("the queue %s was deleted; declaring it again", queue)

        def declared() -> None:
            self._is_declaring = False

        declare_queues(channel, self.names.requests, settings().queue_type, declared)

    def _blocked(self) -> None:
        """End what RabbitMQ has not confirmed: it reads nothing more of what was sent."""
        for request in self._confirms.waiting:
            request.settle(Overloaded(f"{BLOCKED}. It was sent, and is done if RabbitMQ reads it later"))
        self._pending.settle_unsent(Overloaded(BLOCKED))

    def _lost(self) -> None:
        self._channel = None
        self._confirms.clear()


class ServiceQueueClient(QueueClient):
    """Sends the InsultService's operations as events."""

    def perform(self, operation: Operation, *arguments: object, deadline_seconds: float = 0.0) -> object:
        """Return the answer to *operation*: an insult is a text, other arguments are JSON."""
        if operation in (Operation.ADD_INSULT, Operation.REMOVE_INSULT):
            body = cast(str, arguments[0]).encode()
        else:
            fields = bind(operation, arguments)
            body = json.dumps(fields).encode() if fields else b""
        code = "" if operation is Operation.ADD_INSULT else _SERVICE_CODES[operation]
        return self.ask(self.names.service, code, body, deadline_seconds)


class FilterQueueClient(QueueClient):
    """Sends texts to the work queue, and what is asked about them to the control queue."""

    def perform(self, operation: Operation, *arguments: object, deadline_seconds: float = 0.0) -> object:
        if operation is Operation.FILTER:
            return self.ask(self.names.work, "", cast(str, arguments[0]).encode(), deadline_seconds)
        if operation is Operation.SUBMIT:
            petition_id = new_operation_id()
            self.store(self.names.work, cast(str, arguments[0]).encode(), petition_id)
            return petition_id
        code = "X2" if operation is Operation.RESOLVE else "X3"
        body = json.dumps(bind(operation, arguments)).encode() if arguments else b""
        return self.ask(self.names.control, code, body, deadline_seconds)
