"""HTTP as clients speak it that nobody here wrote: old versions, HEAD, and headers that come twice."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import pytest

from harness.faults.kinds.xmlrpc import call, text
from lab.contract import Application
from lab.process.serving import Executor, Method
from tests.conftest import StartSystem
from xmlrpc.tuned.connection import XmlRpcConnection
from xmlrpc.tuned.server import XmlRpcServer

ECHO = call("echo", text("tonto"))
SECONDS = 10.0


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a server that answers with what it is given."""
    echo = Method(lambda arguments, operation_id: arguments[0], Executor.LOOP, "Return TEXT.")
    server = XmlRpcServer({"echo": echo})
    yield server.start("127.0.0.1", 0)
    server.drain(1.0)


def request(version: str, *headers: str, body: bytes = ECHO, method: str = "POST") -> bytes:
    lines = [f"{method} / HTTP/{version}", "Host: node", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def until_the_end(port: int, *parts: bytes) -> bytes:
    """Return all that comes until the server closes the connection, as an old client reads."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as stream:
        for part in parts:
            stream.sendall(part)
        received = b""
        while part := stream.recv(65536):
            received += part
    return received


def one_reply(stream: socket.socket) -> tuple[bytes, bytes]:
    """Return the head and the body of the next reply."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += stream.recv(1)
    head = received.lower()
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = b""
    while len(body) < length:
        body += stream.recv(length - len(body))
    return head, body


@pytest.mark.parametrize("headers", [(), ("Connection: close",), ("Connection: whatever",)])
def test_a_client_of_http_1_0_reads_its_reply_until_the_connection_closes(
    port: int, headers: tuple[str, ...]
) -> None:
    reply = until_the_end(port, request("1.0", *headers))
    assert b"tonto" in reply
    assert b"connection: close" in reply.lower()


def test_a_client_of_http_1_0_that_keeps_its_connection_is_told_that_it_stays_open(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), SECONDS) as stream:
        for _ in range(3):
            stream.sendall(request("1.0", "Connection: keep-alive"))
            head, body = one_reply(stream)
            assert b"connection: keep-alive" in head
            assert b"tonto" in body


def test_a_client_of_http_1_1_that_wants_its_connection_closed_reads_the_end(port: int) -> None:
    assert b"tonto" in until_the_end(port, request("1.1", "Connection: close"))


def test_only_a_client_of_http_1_1_is_told_to_continue(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), SECONDS) as stream:
        stream.sendall(request("1.1", "Expect: 100-continue")[: -len(ECHO)])
        assert stream.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        stream.sendall(ECHO)
        assert b"tonto" in one_reply(stream)[1]
    reply = until_the_end(port, request("1.0", "Expect: 100-continue"))
    assert reply.startswith(b"HTTP/1.1 200 OK")


def test_a_request_that_is_refused_for_its_head_is_not_told_to_continue(port: int) -> None:
    refused = ("Expect: 100-continue", "Content-Encoding: gzip")
    assert b"100 Continue" not in until_the_end(port, request("1.1", *refused)[: -len(ECHO)])


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("headers", [(), ("Content-Encoding: gzip",)])
def test_head_is_answered_without_a_body(port: int, version: str, headers: tuple[str, ...]) -> None:
    reply = until_the_end(port, request(version, *headers, body=b"", method="HEAD"))
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body == b""


@pytest.mark.parametrize(
    "headers", [("Idempotency-Key: a", "Idempotency-Key: b"), ("Host: b",), ("Content-Length: 3",)]
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_header_whose_second_value_another_reader_would_take_is_refused(
    port: int, version: str, headers: tuple[str, ...]
) -> None:
    assert b"MALFORMED" in until_the_end(port, request(version, *headers))


@pytest.mark.parametrize("sent", ["a\rb", "a\r\nb"])
def test_a_raw_carriage_return_becomes_a_line_feed_and_a_reference_to_one_does_not(
    port: int, sent: str
) -> None:
    with socket.create_connection(("127.0.0.1", port), SECONDS) as stream:
        stream.sendall(request("1.1", body=call("echo", text(sent))))
        assert b"<string>a\nb</string>" in one_reply(stream)[1]
        stream.sendall(request("1.1", body=call("echo", text(sent.replace("\r", "&#13;")))))
        assert sent.replace("\r", "&#13;").encode() in one_reply(stream)[1]


def test_calls_share_one_connection(start_system: StartSystem) -> None:
    url = start_system("xmlrpc", Application.SERVICE).target.address
    connection = XmlRpcConnection(url)
    used = set()
    for _ in range(3):
        connection.call("system.listMethods", (), 5.0)
        used |= _local_ports(url)
    connection.close()
    assert len(used) == 1


def test_a_connection_that_the_server_closes_after_its_answer_is_replaced(start_system: StartSystem) -> None:
    url = start_system("xmlrpc", Application.SERVICE).target.address
    connection = XmlRpcConnection(url)
    for _ in range(2):
        assert connection.call("system.listMethods", (), 5.0, extra_header="Connection: close\r\n")
        assert not _local_ports(url)


def _local_ports(url: str) -> set[int]:
    """Return our ends of the connections to the server at *url* that stand."""
    connections = psutil.Process().net_connections("tcp4")
    port = urlsplit(url).port
    return {
        one.laddr.port
        for one in connections
        if one.status == psutil.CONN_ESTABLISHED and one.raddr and one.raddr.port == port
    }
