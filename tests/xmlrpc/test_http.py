"""HTTP: versions, headers, kept connections, IPv6, and the fast path for ordinary requests."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import cast
from urllib.parse import urlsplit

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.faults.kinds.xmlrpc import call, text
from lab.addresses import host_port, listener, reachable
from lab.contract import Application, Architecture, Target
from lab.process.direct import receive_ticks
from lab.process.launcher import Handle, LocalLauncher, ProcessSpec
from lab.process.serving import Executor, Method
from tests.conftest import StartSystem
from xmlrpc.insult_filter import InsultFilterClient
from xmlrpc.insult_service import InsultServiceClient
from xmlrpc.tuned.connection import XmlRpcConnection
from xmlrpc.tuned.http import HttpConnection, Request, whole_request
from xmlrpc.tuned.server import WIRE, XmlRpcServer
from xmlrpc.tuned.wire import write_answer

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


AT_LOOPBACK = ("--host", "::1", "--port", "0")


@pytest.fixture
def launcher() -> Iterator[LocalLauncher]:
    """Start processes that listen over IPv6; skip where there is none."""
    try:
        listener("::1", 0).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with LocalLauncher() as launcher:
        yield launcher


def start(launcher: LocalLauncher, module: str, *arguments: str, **environment: str) -> Handle:
    variables = {f"LAB_{name.upper()}": value for name, value in environment.items()}
    return launcher.start(ProcessSpec(module, f"xmlrpc.{module}", arguments, variables))


def test_one_node_at_an_ipv6_address_is_used_and_calls_back_subscribers_there(
    launcher: LocalLauncher,
) -> None:
    node = start(launcher, "insult_service", *AT_LOOPBACK, "--interval", "100ms")
    assert node.address.startswith("http://[::1]:")
    target = Target(node.address)
    with InsultServiceClient(target) as client:
        assert client.add_insult("tonto")
        with receive_ticks(WIRE, InsultServiceClient(target), "::1") as ticks:
            client.start_broadcast()
            tick = ticks.receive(10.0)
            assert tick is not None
            assert tick.insult == "tonto"


def test_n_nodes_their_master_and_broadcaster_serve_at_an_ipv6_address(
    launcher: LocalLauncher, redis_url: str, namespace: str
) -> None:
    shared = {"redis_url": redis_url, "namespace": namespace}
    master = start(launcher, "master", *AT_LOOPBACK)
    broadcaster = start(launcher, "broadcaster", *AT_LOOPBACK, "--interval", "100ms", **shared)
    addresses = [master.address, broadcaster.address]
    for module in ("insult_service", "insult_service", "insult_filter"):
        joining = ("--host", "::1", "--master", master.address)
        addresses.append(start(launcher, module, *joining, **shared).address)
    assert all(address.startswith("http://[::1]:") for address in addresses)
    assert len(set(addresses)) == 5
    target = Target(master.address, Architecture.N_NODE, namespace)
    with InsultServiceClient(target) as service, InsultFilterClient(target) as filters:
        assert service.add_insult("tonto")
        assert filters.filter("Hola") == "Hola"
        with receive_ticks(WIRE, InsultServiceClient(target), "::1") as ticks:
            service.start_broadcast()
            assert ticks.receive(10.0) is not None


@pytest.mark.parametrize(
    ("host", "written"),
    [("::1", "[::1]:1"), ("[::1]", "[::1]:1"), ("127.0.0.1", "127.0.0.1:1"), ("node", "node:1")],
)
def test_an_ipv6_address_stands_in_brackets_before_a_port(host: str, written: str) -> None:
    assert host_port(host, 1) == written


@pytest.mark.parametrize(
    ("host", "at"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("0::0", "::1"), ("", "127.0.0.1"), ("node", "node")],
)
def test_what_is_bound_to_every_address_is_reached_at_loopback(host: str, at: str) -> None:
    assert reachable(host) == at
