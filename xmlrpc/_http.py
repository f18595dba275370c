"""One HTTP/1.1 connection of the server: requests in, replies out, within limits of size and time."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import httptools

from lab.errors import Code, InvalidRequest, LabError, Overloaded
from lab.limits import MAX_OPERATION_ID_CHARACTERS, MAX_REQUEST_BYTES

from ._codec import write_fault

MAX_CONNECTIONS = 2000
MAX_HEADER_BYTES = 16 * 1024
MAX_PIPELINED = 16
REQUEST_SECONDS = 10.0
"""A request must be there whole this long after its first byte."""
IDLE_SECONDS = 60.0
"""A connection without a request is closed after this time."""


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request."""

    body: bytes
    operation_id: str
    keep_alive: bool


class Server(Protocol):
    """What a connection needs of its server."""

    connections: "set[HttpConnection]"

    def serve(self, request: Request, reply: Callable[[bytes], None]) -> None:
        """Answer *request* by calling *reply* on the event loop, once."""


class HttpConnection(asyncio.Protocol):
    """Reads requests and hands them to the server one at a time; later ones of a pipeline wait."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._requests: deque[Request] = deque()
        self._serving: Request | None = None
        self._closing = False
        self.deadline = 0.0
        self._reset()

    @property
    def is_idle(self) -> bool:
        """Tell whether no request is being served."""
        return self._serving is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not of asyncio's class
        self._server.connections.add(self)
        self.deadline = time.monotonic() + IDLE_SECONDS
        if len(self._server.connections) > MAX_CONNECTIONS:
            self._refuse(Overloaded(f"the node holds {MAX_CONNECTIONS} connections; try again later"))

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self)
        self._closing = True

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            self._parser.feed_data(data)
        except LabError as error:
            self._refuse(error)
        except httptools.HttpParserCallbackError as error:  # a LabError raised in one of the methods below
            self._refuse(_cause(error))
        except httptools.HttpParserError:
            self._refuse(InvalidRequest(Code.MALFORMED, "the request is not HTTP/1.1"))

    def expire(self, now: float) -> None:
        """Close the connection if it was silent for too long, or is too slow with its request."""
        if self._serving is None and self.deadline < now:
            self.close()

    def close(self) -> None:
        """Close when what was written is sent."""
        self._closing = True
        if self._transport:
            self._transport.close()

    # What httptools calls.

    def on_message_begin(self) -> None:
        self.deadline = time.monotonic() + REQUEST_SECONDS

    def on_url(self, url: bytes) -> None:
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(len(name) + len(value))
        field = name.lower()
        if field == b"idempotency-key":
            self._operation_id = value.decode("latin-1")
            if len(value) > MAX_OPERATION_ID_CHARACTERS:
                message = f"Idempotency-Key is longer than {MAX_OPERATION_ID_CHARACTERS} characters"
                raise InvalidRequest(Code.TOO_LARGE, message)
        elif field == b"content-encoding" and value.lower() != b"identity":
            raise InvalidRequest(Code.BAD_ENCODING, "compressed requests are refused; send it as it is")
        elif field == b"content-length" and value.isdigit() and int(value) > MAX_REQUEST_BYTES:
            raise _too_large()
        elif field == b"expect" and self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_headers_complete(self) -> None:
        if self._parser.get_method() != b"POST":
            raise InvalidRequest(Code.MALFORMED, "XML-RPC calls are sent with POST")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > MAX_REQUEST_BYTES:
            raise _too_large()

    def on_message_complete(self) -> None:
        request = Request(bytes(self._body), self._operation_id, self._parser.should_keep_alive())
        self._clear()
        self.deadline = time.monotonic() + IDLE_SECONDS
        if len(self._requests) >= MAX_PIPELINED:
            raise Overloaded(f"more than {MAX_PIPELINED} requests wait on this connection; read the replies")
        self._requests.append(request)
        if self._serving is None:
            self._next()

    def _next(self) -> None:
        self._serving = self._requests.popleft() if self._requests else None
        if self._serving:
            self._server.serve(self._serving, self._reply)

    def _reply(self, body: bytes) -> None:
        request, self._serving = self._serving, None
        if self._closing or request is None:
            return
        self.deadline = time.monotonic() + IDLE_SECONDS
        self._write(body, request.keep_alive)
        if not request.keep_alive:
            self.close()
        elif self._requests:
            self._next()

    def _write(self, body: bytes, keep_alive: bool) -> None:
        if self._transport:
            connection = b"" if keep_alive else b"Connection: close\r\n"
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n%sContent-Length: %d\r\n\r\n"
            self._transport.write(head % (connection, len(body)) + body)

    def _refuse(self, error: LabError) -> None:
        """Answer with a fault and close: what follows on this connection cannot be understood."""
        self._write(write_fault(error), keep_alive=False)
        self.close()

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise InvalidRequest(Code.TOO_LARGE, f"the header is longer than {MAX_HEADER_BYTES} bytes")

    def _reset(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._clear()

    def _clear(self) -> None:
        self._body = bytearray()
        self._operation_id = ""
        self._header_bytes = 0


def _too_large() -> InvalidRequest:
    message = f"the request is longer than {MAX_REQUEST_BYTES} bytes; send it in parts"
    return InvalidRequest(Code.TOO_LARGE, message)


def _cause(error: BaseException) -> LabError:
    cause = error.__cause__ or error.__context__
    return cause if isinstance(cause, LabError) else InvalidRequest(Code.MALFORMED, f"bad request: {cause}")
