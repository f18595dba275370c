"""A client's connection: kept alive, one call at a time, a time limit for each.

Replaces ``xmlrpc.client.ServerProxy`` and ``http.client``, which parse each header as an e-mail's.
"""

import socket
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import httptools

from lab.client.connection import CallGuard, hundredths, limit
from lab.errors import Code, DeadlineExceeded, InternalError, InvalidRequest, Unavailable

from .http import whole_reply
from .wire import MAX_ANSWER_CHARACTERS, parse_answer, write_call

MAX_ANSWER_BYTES = 4 * MAX_ANSWER_CHARACTERS
_RECEIVE_BYTES = 256 * 1024


class XmlRpcConnection:
    """A connection to the server at *url* (``http://host:port``); opened when first needed."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            self._address = (parts.hostname or "", parts.port or 80)
        except ValueError as error:
            raise InvalidRequest(Code.MALFORMED, f"{url!r} is not a URL: {error}") from error
        if parts.scheme != "http" or not parts.hostname:
            raise InvalidRequest(Code.MALFORMED, f"{url!r} is not a URL like http://127.0.0.1:8000")
        self.url = url
        self._head = f"POST / HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: text/xml\r\n"
        self._socket: socket.socket | None = None
        self._limit_hundredths = 0
        self._guard = CallGuard(self._drop)

    def call(
        self,
        method: str,
        arguments: Sequence[object],
        timeout_seconds: float,
        operation_id: str = "",
        extra_header: str = "",
    ) -> object:
        """Call *method*; raise the LabError its Fault stands for, Unavailable, or DeadlineExceeded."""
        body = write_call(method, arguments)
        key = f"Idempotency-Key: {operation_id}\r\n" if operation_id else ""
        request = f"{self._head}{key}{extra_header}Content-Length: {len(body)}\r\n\r\n".encode() + body
        deadline = time.monotonic() + timeout_seconds
        return parse_answer(self._guard.call(timeout_seconds, self._exchange, request, deadline))

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        self._guard.close()

    def _drop(self) -> None:
        connection, self._socket = self._socket, None
        if connection:
            connection.close()

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        reused = self._socket is not None
        try:
            return self._once(request, deadline)
        except Unavailable:
            # The server may have closed an idle connection just now. The request is repeated as it is, so
            # with its operation id, or it changes nothing.
            if not reused:
                raise
            self._drop()
            return self._once(request, deadline)

    def _once(self, request: bytes, deadline: float) -> bytes:
        try:
            connection = self._connected(deadline)
            self._limit(connection, deadline)
            connection.sendall(request)
            data = connection.recv(_RECEIVE_BYTES)
            whole = whole_reply(data)
            return self._parsed(connection, data, deadline) if whole is None else whole
        except (TimeoutError, BlockingIOError) as error:
            raise DeadlineExceeded(f"{self.url} did not answer in time") from error
        except OSError as error:
            raise Unavailable(f"{self.url} cannot be reached: {error}; is its server running?") from error
        except httptools.HttpParserError as error:
            raise InternalError("reply", f"{self.url} does not answer in HTTP: {error}") from error

    def _parsed(self, connection: socket.socket, data: bytes, deadline: float) -> bytes:
        """Return the body of the reply that begins with *data*."""
        reply = _Reply()
        while True:
            if not data:
                raise ConnectionResetError("closed by the other side")
            reply.parser.feed_data(data)
            if reply.is_complete:
                break
            self._limit(connection, deadline)
            data = connection.recv(_RECEIVE_BYTES)
        if not reply.keeps_alive:
            self._drop()
        return bytes(reply.body)

    def _connected(self, deadline: float) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, _left(deadline))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._limit_hundredths = 0
        return self._socket

    def _limit(self, connection: socket.socket, deadline: float) -> None:
        """Let the next wait end at *deadline*."""
        left = hundredths(_left(deadline))
        if left != self._limit_hundredths:
            limit(connection, left)
            self._limit_hundredths = left


class _Reply:
    """One HTTP response."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.body = bytearray()
        self.is_complete = self.keeps_alive = False

    def on_message_begin(self) -> None:
        if self.is_complete:
            raise ValueError("a second reply to one request")

    def on_body(self, body: bytes) -> None:
        self.body += body
        if len(self.body) > MAX_ANSWER_BYTES:  # of a subscriber, perhaps, that means ill
            raise ValueError(f"the answer has more than {MAX_ANSWER_BYTES} bytes")

    def on_message_complete(self) -> None:
        self.keeps_alive = self.parser.should_keep_alive()  # only here: afterwards the parser has forgotten
        self.is_complete = True


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
