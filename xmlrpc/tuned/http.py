"""HTTP/1.1 connections of the server: requests in, replies out, within limits of size and time.

Replaces ``http.server``: one event loop in place of a thread for each connection. A message that is there
whole, just as our own two sides write it, takes a fast path: a regular expression reads it at once (decision
4). A parser calls back for every header; it reads all other messages.
"""

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol, cast
from uuid import uuid4

import httptools

from lab.errors import Code, DeadlineExceeded, InternalError, InvalidRequest, LabError, Overloaded
from lab.limits import MAX_OPERATION_ID_CHARACTERS, MAX_REQUEST_BYTES

from .wire import write_fault

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 2000
MAX_LINGERING = 200
"""So many refused connections beyond that limit close slowly, so that their clients can read why."""
MAX_HEADER_BYTES = 16 * 1024
MAX_PIPELINED = 16
MAX_CHUNKS = 4096
MOST_BYTES = 2 * MAX_REQUEST_BYTES
"""A request with all that is not its body: sizes of chunks, their extensions, trailers."""
REQUEST_SECONDS = 10.0
"""A request must be complete this long after its first byte."""
IDLE_SECONDS = 60.0
"""A connection without a request is closed after this time."""
LINGER_SECONDS = 2.0
"""A lingering close: what a refused client sends is read for this time, or TCP would discard our answer."""

_CLOSED = b"Connection: close\r\n"
_KEPT_OLD = b"Connection: keep-alive\r\n"
"""A client of HTTP/1.0 reads until the connection closes, unless it is told that it stays open."""
_ONCE = frozenset((b"idempotency-key", b"content-length", b"content-encoding", b"host"))
"""Headers that may come once: of two, another program could use the other one."""
_ENCODINGS = {b"content-encoding": b"identity", b"transfer-encoding": b"chunked"}

_REQUEST = re.compile(
    rb"POST / HTTP/1\.1\r\nHost: [\w.:\[\]-]{1,255}\r\nContent-Type: text/xml\r\n"
    rb"(?:Idempotency-Key: ([\w-]{1,128})\r\n)?Content-Length: (\d{1,6})\r\n\r\n"
)
_REPLY = re.compile(rb"HTTP/1\.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: (\d{1,7})\r\n\r\n")


class Request(NamedTuple):
    """A whole request."""

    body: bytes
    operation_id: str
    keep_alive: bool
    is_old: bool = False
    """It came in HTTP/1.0."""


def whole_request(data: bytes) -> Request | None:
    """Return the request that *data* is; none: the parser must read it."""
    head = _REQUEST.match(data)
    if not head or len(data) != head.end() + int(head[2]):
        return None
    return Request(data[head.end() :], (head[1] or b"").decode(), keep_alive=True)


def whole_reply(data: bytes) -> bytes | None:
    """Return the body of the reply that *data* is; none: the parser must read it."""
    head = _REPLY.match(data)
    return data[head.end() :] if head and len(data) == head.end() + int(head[1]) else None


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
        self._is_last = False  # the client has said that it sends nothing more
        self._is_unread = False  # the client does not read the replies that it has
        self._in_header = self._in_request = False
        self.deadline = 0.0
        self._parser = httptools.HttpRequestParser(self)
        self._clear()

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
        if len(self._server.connections) > MAX_CONNECTIONS + MAX_LINGERING:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self)
        self._closing = True

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        was_in_header = self._in_header
        whole = None if self._in_request else whole_request(data)
        try:
            if whole:
                self._take(whole)
                return
            self._request_bytes += len(data)
            self._parser.feed_data(data)
            if self._in_request and self._request_bytes > MOST_BYTES:
                raise _too_large()
            if was_in_header and self._in_header:
                self._count_unfinished(len(data))
        except LabError as error:
            self._refuse(error)
        except httptools.HttpParserCallbackError as error:  # a LabError raised in one of the methods below
            self._refuse(_cause_of(error))
        except httptools.HttpParserError:
            self._refuse(InvalidRequest(Code.MALFORMED, "the request is not HTTP/1.1"))

    def eof_received(self) -> bool:
        """Answer a client that sends nothing more; true keeps the connection until that is done."""
        if self._closing:
            return False
        if self._in_request:
            message = "the request ended before it was whole; does its Content-Length fit?"
            self._refuse(InvalidRequest(Code.MALFORMED, message))
            return False
        self._is_last = True
        return self._serving is not None or bool(self._requests)

    def pause_writing(self) -> None:
        """Serve and read nothing more until the client has read its replies: they would fill the memory."""
        self._is_unread = True
        if self._transport and not self._closing:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on where :meth:`pause_writing` stopped."""
        self._is_unread = False
        if self._transport and not self._closing:
            self._transport.resume_reading()
            if self._serving is None:
                self._next()

    def expire(self, now: float) -> None:
        """Close the connection if it was silent for too long, or is too slow with its request."""
        if self._serving is not None or self.deadline >= now:
            return
        if self._in_request and not self._closing:
            message = f"the request was not whole {REQUEST_SECONDS:g} s after it began"
            self._refuse(DeadlineExceeded(message))
        elif self._transport:
            self._closing = True
            self._transport.abort()  # the client has not read for this long; it never will

    def close(self) -> None:
        """Close when what was written is sent."""
        self._closing = True
        if self._transport:
            self._transport.close()

    # What httptools calls.

    def on_message_begin(self) -> None:
        self._in_header = self._in_request = True
        self.deadline = time.monotonic() + REQUEST_SECONDS

    def on_url(self, url: bytes) -> None:
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unfinished_bytes = 0
        self._count_header(len(name) + len(value))
        field = name.lower()
        if field in _ONCE:
            if field in self._seen:
                message = f"two headers {name.decode('latin-1')}; send one"
                raise InvalidRequest(Code.MALFORMED, message)
            self._seen.add(field)
        if field == b"idempotency-key":
            self._operation_id = value.decode("latin-1")
            if not value.strip():
                raise InvalidRequest(Code.MALFORMED, "the header Idempotency-Key is empty; leave it out")
            if len(value) > MAX_OPERATION_ID_CHARACTERS:
                message = f"Idempotency-Key is longer than {MAX_OPERATION_ID_CHARACTERS} characters"
                raise InvalidRequest(Code.TOO_LARGE, message)
        elif field in _ENCODINGS and value.lower() != _ENCODINGS[field]:
            raise InvalidRequest(Code.BAD_ENCODING, "compressed requests are refused; send it as it is")
        elif field == b"content-length" and value.isdigit() and int(value) > MAX_REQUEST_BYTES:
            raise _too_large()
        elif field == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True

    def on_headers_complete(self) -> None:
        self._in_header = False
        self._is_old = self._parser.get_http_version() == "1.0"
        if self._parser.should_upgrade():  # the parser would take the body for another protocol's
            raise InvalidRequest(Code.MALFORMED, "this stays HTTP/1.1; leave out the header Upgrade")
        if self._parser.get_method() != b"POST":
            raise InvalidRequest(Code.MALFORMED, "XML-RPC calls are sent with POST")
        if not self._is_old and b"host" not in self._seen:
            raise InvalidRequest(Code.MALFORMED, "an HTTP/1.1 request needs the header Host")
        if self._expects_continue and not self._is_old and self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_chunk_header(self) -> None:
        self._chunks += 1
        if self._chunks > MAX_CHUNKS:
            raise InvalidRequest(Code.TOO_LARGE, f"the request comes in more than {MAX_CHUNKS} chunks")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > MAX_REQUEST_BYTES:
            raise _too_large()

    def on_message_complete(self) -> None:
        keep_alive = self._parser.should_keep_alive()
        request = Request(bytes(self._body), self._operation_id, keep_alive, self._is_old)
        self._clear()
        self._in_request = False
        self._take(request)

    def _take(self, request: Request) -> None:
        self.deadline = time.monotonic() + IDLE_SECONDS
        if len(self._requests) >= MAX_PIPELINED:
            raise Overloaded(f"more than {MAX_PIPELINED} requests wait on this connection; read the replies")
        self._requests.append(request)
        if self._serving is None:
            self._next()

    def _next(self) -> None:
        self._serving = self._requests.popleft() if self._requests and not self._is_unread else None
        if self._serving:
            self._server.serve(self._serving, self._reply)

    def _reply(self, body: bytes) -> None:
        request, self._serving = self._serving, None
        if self._closing or request is None:
            return
        self.deadline = time.monotonic() + IDLE_SECONDS
        keep_alive = request.keep_alive and not (self._is_last and not self._requests)
        kept = _KEPT_OLD if request.is_old else b""
        self._write(body, kept if keep_alive else _CLOSED)
        if not keep_alive:
            self.close()
        elif self._requests:
            self._next()

    def _write(self, body: bytes, connection: bytes, *, is_head: bool = False) -> None:
        if self._transport:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n%sContent-Length: %d\r\n\r\n"
            self._transport.write(head % (connection, len(body)) + (b"" if is_head else body))

    def _refuse(self, error: LabError) -> None:
        """Answer with a fault and close: what follows on this connection cannot be understood."""
        is_head = self._in_request and self._parser.get_method() == b"HEAD"
        self._write(write_fault(error), _CLOSED, is_head=is_head)
        self._closing = True
        self.deadline = time.monotonic() + LINGER_SECONDS
        if self._transport:
            self._transport.write_eof()

    def _count_unfinished(self, size: int) -> None:
        """Bound a header line that does not end: the parser keeps it all until it does."""
        self._unfinished_bytes += size
        if self._unfinished_bytes > MAX_HEADER_BYTES:
            self._count_header(self._unfinished_bytes)

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise InvalidRequest(Code.TOO_LARGE, f"the header is longer than {MAX_HEADER_BYTES} bytes")

    def _clear(self) -> None:
        self._body = bytearray()
        self._operation_id = ""
        self._is_old = self._expects_continue = False
        self._seen: set[bytes] = set()
        self._header_bytes = self._unfinished_bytes = self._chunks = self._request_bytes = 0


def _too_large() -> InvalidRequest:
    """Return the error of a body beyond the limit."""
    message = f"the request is longer than {MAX_REQUEST_BYTES} bytes; send it in parts"
    return InvalidRequest(Code.TOO_LARGE, message)


def _cause_of(error: BaseException) -> LabError:
    """Return the LabError that a callback raised; anything else is ours, and stays in the log."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, LabError):
        return cause
    error_id = uuid4().hex[:12]
    log.error("reading a request failed, error id %s", error_id, exc_info=cause)
    return InternalError(error_id)
