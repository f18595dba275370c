"""Requests whose senders wait: bounded, and kept so that they can be sent again when a connection broke."""

import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from lab.errors import LabError, Overloaded

from ._wire import Message

MOST_PENDING = 10_000
MOST_PENDING_BYTES = 64 * 1024 * 1024


class Request:
    """*answer* is the reply, or None once the broker confirmed a request that wants no reply."""

    __slots__ = ("answer", "message", "sent", "wants_reply")

    def __init__(self, message: Message, wants_reply: bool) -> None:
        self.message = message
        self.wants_reply = wants_reply
        self.answer: Future[object] = Future()
        self.sent = False
        """Handed to the connection at least once: it may have had its effect."""

    def settle(self, answer: object) -> None:
        """Give the sender its answer, or the error it is, unless it has one."""
        # No look whether it has one: two threads could both see that it has none.
        with suppress(InvalidStateError):
            if isinstance(answer, LabError):
                self.answer.set_exception(answer)
            else:
                self.answer.set_result(answer)


class Pending:
    """The requests of a client whose senders wait, by id, oldest first, and which of them are to be sent.

    Safe to use from any thread. Overloaded beyond so many requests or bytes.
    """

    def __init__(self) -> None:
        self._requests: dict[str, Request] = {}
        self._to_send: dict[str, Request] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, operation_id: str, request: Request) -> bool:
        """Keep *request*; return True if nothing else is to be sent, so that somebody must see to it."""
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

    def get(self, operation_id: str) -> Request | None:
        """Return the request with this id, if its sender still waits."""
        return self._requests.get(operation_id)

    def forget(self, operation_id: str) -> None:
        """Drop a request: its sender has its answer, or waits no longer."""
        with self._lock:
            request = self._requests.pop(operation_id, None)
            if request:
                self._bytes -= len(request.message.body)
                self._to_send.pop(operation_id, None)

    def take(self) -> list[Request]:
        """Return what is to be sent, and regard it as sent."""
        with self._lock:
            requests = list(self._to_send.values())
            self._to_send.clear()
        for request in requests:
            request.sent = True
        return requests

    def send_again(self) -> None:
        """Let everything be sent that has no answer: a new connection knows nothing of the last one's."""
        with self._lock:
            self._to_send = {
                operation_id: request
                for operation_id, request in self._requests.items()
                if not request.answer.done()
            }

    def settle_unsent(self, error: LabError) -> None:
        """Answer what is still to be sent with *error*; it is not sent then."""
        with self._lock:
            requests = list(self._to_send.values())
            self._to_send.clear()
        for request in requests:
            request.settle(error)

    def settle_all(self, error: LabError) -> None:
        """Answer everything with *error*."""
        with self._lock:
            requests = list(self._requests.values())
        for request in requests:
            request.settle(error)
