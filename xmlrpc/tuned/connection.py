"""A client's connection: kept alive, one call at a time, a time limit for each.

Replaces ``xmlrpc.client.ServerProxy`` and ``http.client``, which parse each header as an e-mail's.
"""

from collections.abc import Sequence

import httptools

from lab.client.connection import StreamConnection

from .http import whole_reply
from .wire import MAX_ANSWER_CHARACTERS, parse_answer, write_call

MAX_ANSWER_BYTES = 4 * MAX_ANSWER_CHARACTERS


class XmlRpcConnection(StreamConnection):
    """A connection to the server at ``http://HOST:PORT``."""

    scheme = "http"
    default_port = 80

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._head = f"POST / HTTP/1.1\r\nHost: {self.host_header}\r\nContent-Type: text/xml\r\n"

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
        head = f"{self._head}{key}{extra_header}Content-Length: {len(body)}\r\n\r\n"
        return parse_answer(self.exchange(head.encode() + body, timeout_seconds))

    def read_reply(self, data: bytes, deadline: float) -> bytes:
        whole = whole_reply(data)
        if whole is not None:
            return whole
        reply = _Reply()
        reply.feed(data)
        while not reply.is_complete:
            reply.feed(self.receive(deadline))
        if not reply.keeps_alive:
            self.drop()
        return bytes(reply.body)


class _Reply:
    """One HTTP response."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.body = bytearray()
        self.is_complete = self.keeps_alive = False

    def feed(self, data: bytes) -> None:
        """Read on; ValueError if it is no HTTP."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise ValueError(f"no HTTP: {error}") from error

    # What httptools calls.

    def on_message_begin(self) -> None:
        if self.is_complete:
            raise ValueError("a second reply to one request")

    def on_body(self, body: bytes) -> None:
        self.body += body
        if len(self.body) > MAX_ANSWER_BYTES:  # a subscriber's, perhaps, that wants to do harm
            raise ValueError(f"the answer has more than {MAX_ANSWER_BYTES} bytes")

    def on_message_complete(self) -> None:
        self.keeps_alive = self._parser.should_keep_alive()  # only here: afterwards the parser forgets it
        self.is_complete = True
