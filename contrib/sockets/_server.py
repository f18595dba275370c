"""A server: a thread for each connection, one request at a time on each."""

import logging
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from lab.client.retry import Deadline
from lab.errors import Code, InternalError, InvalidRequest, LabError, Overloaded, Unavailable
from lab.limits import MAX_BATCH, MAX_REQUEST_BYTES
from lab.operations import new_operation_id

from ._wire import read_body, read_length, receive, write_error, write_frame

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 1024
FRAME_SECONDS = 5.0
"""For the rest of a request that has begun, and for a client to take its answer."""

Method = Callable[[Sequence[object], str], object]
"""Takes the arguments and the operation id, empty if there is none."""


class Server:
    """Answers *methods*, and ``ping``, on *host*."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods: dict[str, Method] = {"ping": lambda arguments, operation_id: True, **methods}
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._stopping = False

    def start(self, host: str, port: int, advertised: str = "") -> str:
        """Listen on *port*, 0 for a free one; return the address under which others reach it."""
        try:
            self._listener = socket.create_server((host, port), backlog=MAX_CONNECTIONS)
        except OSError as error:
            message = f"cannot listen on {host}:{port}: {error.strerror}; try another --port"
            raise Unavailable(message) from error
        threading.Thread(target=self._accept, name="accept", daemon=True).start()
        return f"tcp://{advertised or host}:{self._listener.getsockname()[1]}"

    def drain(self, timeout_seconds: float) -> None:
        """Take no more requests; send the answers of those that were taken."""
        deadline = Deadline(timeout_seconds)
        self._stopping = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept, as close would not
        self._listener.close()
        with self._lock:
            connections = dict(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        for thread in connections.values():
            thread.join(deadline.left)

    def _accept(self) -> None:
        while not self._stopping:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                continue  # it was closed, or its client is gone already
            with self._lock:
                has_room = len(self._connections) < MAX_CONNECTIONS and not self._stopping
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                if has_room:
                    self._connections[connection] = thread
            if has_room:
                thread.start()
            else:
                _refuse(connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._stopping:
                connection.settimeout(None)  # between two requests a client may be silent
                head = receive(connection, 1)
                connection.settimeout(FRAME_SECONDS)
                length = read_length(head + receive(connection, 3), MAX_REQUEST_BYTES)
                connection.sendall(write_frame(self._answer(receive(connection, length))))
        except InvalidRequest as error:  # of its length: what follows cannot be told apart
            with suppress(OSError):
                connection.sendall(write_frame(write_error(error)))
        except OSError:
            pass  # the client is gone
        finally:
            with self._lock:
                self._connections.pop(connection, None)
            connection.close()

    def _answer(self, body: bytes) -> object:
        try:
            request = read_body(body)
        except InvalidRequest as error:
            return write_error(error)
        if not isinstance(request, list):
            return self._answer_one(request)
        if len(request) > MAX_BATCH:
            return write_error(InvalidRequest(Code.TOO_LARGE, f"a batch has at most {MAX_BATCH} requests"))
        return [self._answer_one(one) for one in request]

    def _answer_one(self, value: object) -> dict[str, object]:
        try:
            request = Request.of(value)
            method = self._methods.get(request.operation)
            if method is None:
                known = ", ".join(self._methods)
                message = f"no operation {request.operation[:60]!r} here; there are: {known}"
                raise InvalidRequest(Code.UNKNOWN_OPERATION, message)
            return {"ok": method(request.arguments, request.operation_id)}
        except LabError as error:
            return write_error(error)
        except Exception:
            failed = InternalError(new_operation_id())
            log.exception("request failed, error %s", failed.error_id)
            return write_error(failed)


class Request(NamedTuple):
    """What a client asks for."""

    operation: str
    arguments: Sequence[object]
    operation_id: str

    @classmethod
    def of(cls, value: object) -> "Request":
        """Read a request; MISSING_FIELD or WRONG_TYPE if it is none."""
        if not isinstance(value, dict):
            raise InvalidRequest(Code.WRONG_TYPE, f"a request is an object, not a {type(value).__name__}")
        if "op" not in value:
            raise InvalidRequest(Code.MISSING_FIELD, "a request needs op, the operation")
        operation, arguments, operation_id = value["op"], value.get("args", []), value.get("id", "")
        texts = isinstance(operation, str) and isinstance(operation_id, str)
        if not texts or not isinstance(arguments, list):
            raise InvalidRequest(Code.WRONG_TYPE, "op and id are texts, args is a list")
        return cls(operation, arguments, operation_id)


def _refuse(connection: socket.socket) -> None:
    error = Overloaded(f"{MAX_CONNECTIONS} connections are open, or the node stops; try again later")
    with suppress(OSError), connection:
        connection.settimeout(FRAME_SECONDS)
        connection.sendall(write_frame(write_error(error)))
