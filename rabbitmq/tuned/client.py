"""The client of both applications: its requests are confirmed, and each reply finds its request by its id.

Replaced parts of pika: none. On its asynchronous connection, any number of requests is under way.
"""

import json
import logging
import threading
import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import cast

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from lab.client.connection import after_fork
from lab.client.retry import LEAST_DEADLINE_SECONDS, probe_after
from lab.contract import Closing, Target
from lab.errors import DeadlineExceeded, LabError, Overloaded, Unavailable
from lab.operations import Operation, bind, new_operation_id
from lab.settings import settings
from lab.validation import clean_deadline

from .connection import BLOCKED, Confirms, Connection
from .wire import (
    PERSISTENT,
    SERVICE_CODES,
    Kind,
    Message,
    Names,
    declare_broadcast,
    declare_queues,
    read_reply,
)

log = logging.getLogger(__name__)

MOST_PENDING = 10_000
MOST_PENDING_BYTES = 64 * 1024 * 1024
_SERVICE_CODES = {operation: code for code, operation in SERVICE_CODES.items()}


class Request:
    """A request under way. *answer* is its reply; None if it wants no reply and the broker confirmed it."""

    __slots__ = ("answer", "message", "sent", "wants_reply")

    def __init__(self, message: Message, wants_reply: bool) -> None:
        self.message = message
        self.wants_reply = wants_reply
        self.answer: Future[object] = Future()
        self.sent = False
        """It was published at least once, so it may have had its effect."""

    def settle(self, answer: object) -> None:
        """Give the sender its answer, or the LabError that it is. The first answer counts."""
        # No check before: two threads could both see that there is no answer.
        with suppress(InvalidStateError):
            if isinstance(answer, LabError):
                self.answer.set_exception(answer)
            else:
                self.answer.set_result(answer)


class Pending:
    """The requests whose senders wait, by id, oldest first; and those of them that are still to be sent.

    Any thread may use it. Overloaded if there are too many requests or bytes.
    """

    def __init__(self) -> None:
        self._requests: dict[str, Request] = {}
        self._to_send: dict[str, Request] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, operation_id: str, request: Request) -> bool:
        """Keep *request*. Return True if it is the only one to be sent: then wake the I/O thread."""
        with self._lock:
            if len(self._requests) >= MOST_PENDING or self._bytes >= MOST_PENDING_BYTES:
                raise Overloaded(
                    f"{len(self._requests)} requests of {self._bytes} bytes wait for an answer already; "
                    "RabbitMQ or the nodes are away or slow, try again later"
                )
            self._requests[operation_id] = request
            self._bytes += len(request.message.body)
            self._to_send[operation_id] = request
            return len(self._to_send) == 1

    @property
    def has_one(self) -> bool:
        """No more than one sender waits."""
        return len(self._requests) <= 1

    def get(self, operation_id: str) -> Request | None:
        """Return the request with this id, if its sender still waits."""
        return self._requests.get(operation_id)

    def forget(self, operation_id: str) -> None:
        """Drop a request: its sender has the answer, or waits no longer."""
        with self._lock:
            request = self._requests.pop(operation_id, None)
            if request:
                self._bytes -= len(request.message.body)
                self._to_send.pop(operation_id, None)

    def take(self) -> list[Request]:
        """Return the requests to be sent, and mark them as sent."""
        with self._lock:
            requests = list(self._to_send.values())
            self._to_send.clear()
        for request in requests:
            request.sent = True
        return requests

    def send_again(self) -> None:
        """Mark all requests without an answer as to be sent: there is a new connection."""
        with self._lock:
            self._to_send = {
                operation_id: request
                for operation_id, request in self._requests.items()
                if not request.answer.done()
            }

    def settle_unsent(self, error: LabError) -> None:
        """Answer the requests that are still to be sent with *error*, and do not send them."""
        with self._lock:
            requests = list(self._to_send.values())
            self._to_send.clear()
        for request in requests:
            request.settle(error)

    def settle_all(self, error: LabError) -> None:
        """Answer all requests with *error*."""
        with self._lock:
            requests = list(self._requests.values())
        for request in requests:
            request.settle(error)


class QueueClient(Closing):
    """Sends requests to the queues of *target* and receives replies on an exclusive queue of its own.

    Any number of threads may share it. A forked process must open its own; with this one it gets an error.
    While RabbitMQ is away, requests wait. When it is back, requests without an answer are sent again with the
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
        self._connection = Connection(
            target.address, self._set_up, self._lost, self._blocked, self._not_permitted
        )
        self._connection.start()
        self._is_forked = False
        after_fork(self)

    def forked(self) -> None:
        """Refuse every call in a forked process: the thread that does the I/O does not exist there."""
        self._is_forked = True

    def ask(self, queue: str, code: str, body: bytes = b"", deadline_seconds: float = 0.0) -> object:
        """Send a request and return its answer, or raise the LabError that it is."""
        operation_id = new_operation_id()
        deadline = time.monotonic() + (deadline_seconds or self.deadline_seconds)
        try:
            return self.answer(operation_id, self.send(queue, code, body, operation_id), deadline)
        finally:  # an interrupt may come before answer() begins
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
                    return request.answer.result(probe_after(left))
                self._connection.probe()
                self._connection.call(self._declare_again)  # is the queue still the one that nodes consume?
            return request.answer.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError as error:
            raise self._too_late(request) from error
        finally:
            self._pending.forget(operation_id)

    def forget(self, operation_id: str) -> None:
        """Wait no longer for the reply to a request."""
        self._pending.forget(operation_id)

    def store(self, queue: str, body: bytes, operation_id: str) -> None:
        """Publish a request that wants no reply; return when the broker has confirmed it."""
        properties = BasicProperties(message_id=operation_id, delivery_mode=PERSISTENT)
        message = Message(queue, body, properties, kind=Kind.PETITION)
        deadline = time.monotonic() + self.deadline_seconds
        try:
            self.answer(operation_id, self._send(operation_id, Request(message, False)), deadline)
        finally:
            self._pending.forget(operation_id)

    def close(self) -> None:
        if self._is_forked:
            return  # the connection belongs to the other process
        self._connection.close()
        self._pending.settle_all(Unavailable("the client was closed"))

    def _send(self, operation_id: str, request: Request) -> Request:
        """Keep *request*. One wake-up of the I/O thread sends all that is there."""
        if self._is_forked:
            raise Unavailable("this client was opened before a fork; open one in the new process")
        if self._connection.is_blocked:
            raise Overloaded(BLOCKED)
        try:
            if self._pending.add(operation_id, request):
                # With others under way, the I/O thread sends several at once.
                send = self._connection.do if self._pending.has_one else self._connection.call
                send(self._flush)
        except BaseException:  # an interrupt: the next request must see that it has to wake the I/O thread
            self._pending.forget(operation_id)
            raise
        return request

    def _too_late(self, request: Request) -> LabError:
        """Return the error that says why there was no answer in time."""
        if request.sent:
            if request.wants_reply:
                return DeadlineExceeded("no reply in time; is a node running?")
            return DeadlineExceeded("RabbitMQ did not confirm in time; is it out of memory or disk?")
        why = self._connection.failure
        return Unavailable(f"it was not sent: the connection to RabbitMQ was lost and is opened again{why}")

    # In the I/O thread.

    def _flush(self) -> None:
        """Send all that waits to be sent, if there is a channel. A new channel calls it again."""
        channel = self._channel
        if channel is None or not channel.is_open:
            return
        if self._connection.is_blocked:  # since _send() looked
            self._pending.settle_unsent(Overloaded(BLOCKED))
            return
        for request in self._pending.take():
            message = request.message
            if request.wants_reply:
                message.properties.reply_to = self._reply_queue
            message.publish(channel)
            self._confirms.add(request)

    def _set_up(self, connection: Connection) -> None:
        connection.open_channel(self._declare)

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
            # Publish only from now on: numbers of confirms begin with the select, which pika may delay.
            self._channel = channel
            self._connection.ready()
            self._pending.send_again()
            self._flush()

        def own_queue() -> None:
            channel.queue_declare("", exclusive=True, callback=declared)

        def broadcast() -> None:
            declare_broadcast(channel, self.names, own_queue)

        # Clients declare too, so that requests can wait until a node starts.
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
                request.settle(Overloaded(f"RabbitMQ refused it: {queue} is full or failed; try again later"))
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
        if not self._is_declaring:
            log.warning("the queue %s was deleted; declaring it again", queue)
        self._declare_again()

    def _declare_again(self) -> None:
        """Declare the queues, unless that is under way. If one is of another kind, the channel is closed."""

        def declared() -> None:
            self._is_declaring = False

        if not self._is_declaring and self._channel and self._channel.is_open:
            self._is_declaring = True
            declare_queues(self._channel, self.names.requests, settings().queue_type, declared)

    def _blocked(self) -> None:
        """End all that RabbitMQ has not confirmed: it reads nothing more now."""
        for request in self._confirms.waiting:
            request.settle(Unavailable(f"{BLOCKED}. It was sent, and is done if RabbitMQ reads it later"))
        self._pending.settle_unsent(Overloaded(BLOCKED))

    def _not_permitted(self, error: LabError) -> None:
        """End all requests: to send them again would not help."""
        self._pending.settle_unsent(error)
        self._pending.settle_all(Unavailable(f"{error.message}. It was sent, and may be done"))

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
    """Sends texts to the work queue, and questions about them to the control queue."""

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
