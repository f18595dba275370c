"""The short cut for plain requests and replies reads what the parser reads, and leaves it the rest."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmlrpc.tuned.connection import XmlRpcConnection
from xmlrpc.tuned.http import HttpConnection, Request, whole_request
from xmlrpc.tuned.wire import write_answer

HEAD = b"POST / HTTP/1.1\r\nHost: localhost:8000\r\nContent-Type: text/xml\r\n"


class Taker:
    """A server that only takes requests."""

    def __init__(self) -> None:
        self.connections: set[HttpConnection] = set()
        self.taken: list[Request] = []

    def serve(self, request: Request, reply: Callable[[bytes], None]) -> None:
        self.taken.append(request)


def parsed(data: bytes) -> list[Request]:
    """Return what the parser makes of *data*: it comes in two parts, so there is no short cut."""
    server = Taker()
    connection = HttpConnection(server)
    connection.connection_made(cast(asyncio.Transport, _Nowhere()))
    for part in (data[:1], data[1:]):
        connection.data_received(part)
    return server.taken


class _Nowhere:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


@given(
    st.sampled_from([b"", b"Idempotency-Key: a-1\r\n", b"Idempotency-Key: \r\n", b"Accept: */*\r\n"]),
    st.binary(max_size=40),
    st.integers(-2, 2),
    st.sampled_from([b"", b"\r\n", b"POST / HTTP/1.1\r\n"]),
)
def test_a_plain_request_is_what_the_parser_reads(extra: bytes, body: bytes, off: int, more: bytes) -> None:
    length = max(0, len(body) + off)
    data = HEAD + extra + b"Content-Length: %d\r\n\r\n" % length + body + more
    plain = whole_request(data)
    assert plain is None or [plain] == parsed(data)
    if not off and not more and extra in (b"", b"Idempotency-Key: a-1\r\n"):
        assert plain == Request(body, "a-1" if extra else "", True)


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Connection: close\r\nContent-Length: 1\r\n\r\nx",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 2\r\n\r\nx",
        HEAD + b"Content-Length: 1\r\n\r\nxy",
        HEAD.replace(b"POST", b"GET") + b"Content-Length: 1\r\n\r\nx",
        HEAD.replace(b"1.1", b"1.0") + b"Content-Length: 1\r\n\r\nx",
    ],
)
def test_anything_else_is_left_to_the_parser(data: bytes) -> None:
    assert whole_request(data) is None


@contextlib.contextmanager
def answering(*parts: bytes) -> Iterator[str]:
    """Answer one request with *parts*, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            stream, _ = server.accept()
            with stream:
                stream.recv(65536)
                for part in parts:
                    stream.sendall(part)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join(5.0)


@pytest.mark.parametrize("cut", [1, 20, 70, 100, 1000])
@pytest.mark.parametrize("header", [b"", b"Server: another\r\n", b"Connection: close\r\n"])
def test_a_reply_is_read_however_it_comes(header: bytes, cut: int) -> None:
    body = write_answer("tonto")
    reply = b"HTTP/1.1 200 OK\r\n%sContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n" % (header, len(body))
    whole = reply + body
    with answering(*[part for part in (whole[:cut], whole[cut:]) if part]) as url:
        connection = XmlRpcConnection(url)
        assert connection.call("insult_me", (), 5.0) == "tonto"
        connection.close()
