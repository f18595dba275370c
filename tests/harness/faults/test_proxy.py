"""The fault proxy: what it does to replies, and to nothing else."""

import socket
import threading
from collections.abc import Iterator

import pytest

from harness.faults.proxy import Harm, Proxy
from tests.eventually import eventually

SECONDS = 10.0


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it gets, on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


def _serve(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection:
        while received := connection.recv(65536):
            connection.sendall(received)


def ask(proxy: Proxy, echo: int, seconds: float = SECONDS) -> socket.socket:
    """Connect through *proxy* and send ten bytes."""
    port = proxy.listen("127.0.0.1", 0, "127.0.0.1", echo)
    connection = socket.create_connection(("127.0.0.1", port), seconds)
    connection.sendall(b"0123456789")
    return connection


def read_all(connection: socket.socket, size: int = 10) -> bytes:
    received = b""
    while len(received) < size and (part := connection.recv(size)):
        received += part
    return received


@pytest.mark.parametrize(
    "harms", [{}, {Harm.DELAY: 1.0}, {Harm.TRICKLE: 1.0}], ids=["none", "delay", "trickle"]
)
def test_a_reply_that_is_only_slow_is_whole(echo: int, harms: dict[Harm, float]) -> None:
    with Proxy(1, harms) as proxy:
        proxy.is_armed = True
        with ask(proxy, echo) as connection:
            assert read_all(connection) == b"0123456789"
        assert set(proxy.done) == set(harms)


def test_a_dropped_reply_never_comes_and_its_connection_ends(echo: int) -> None:
    with Proxy(1, {Harm.DROP: 1.0}) as proxy:
        proxy.is_armed = True
        with ask(proxy, echo) as connection:
            assert connection.recv(10) == b""


def test_a_reset_is_one(echo: int) -> None:
    with Proxy(1, {Harm.RESET: 1.0}) as proxy:
        proxy.is_armed = True
        with ask(proxy, echo) as connection, pytest.raises(ConnectionResetError):
            connection.recv(10)


def test_a_half_closed_reply_is_half(echo: int) -> None:
    with Proxy(1, {Harm.HALF_CLOSE: 1.0}) as proxy:
        proxy.is_armed = True
        with ask(proxy, echo) as connection:
            assert read_all(connection) == b"01234"
            assert connection.recv(10) == b""


def test_a_black_hole_says_nothing_and_stays_open(echo: int) -> None:
    with Proxy(1, {Harm.BLACK_HOLE: 1.0}) as proxy:
        proxy.is_armed = True
        with ask(proxy, echo, seconds=0.3) as connection:
            with pytest.raises(TimeoutError):
                connection.recv(10)
            connection.sendall(b"more")


def test_before_it_is_armed_it_harms_nobody(echo: int) -> None:
    with Proxy(1, {Harm.DROP: 1.0}) as proxy, ask(proxy, echo) as connection:
        assert read_all(connection) == b"0123456789"
        assert not proxy.done.total()


def test_the_same_seed_harms_the_same_replies(echo: int) -> None:
    outcomes = []
    for _ in range(2):
        with Proxy(5, {Harm.DELAY: 0.3}) as proxy:
            proxy.is_armed = True
            with ask(proxy, echo) as connection:
                for _ in range(20):
                    read_all(connection)
                    connection.sendall(b"0123456789")
                read_all(connection)
            outcomes.append((proxy.replies, proxy.done[Harm.DELAY]))
    assert outcomes[0] == outcomes[1]


def test_nothing_is_left_when_it_ends(echo: int) -> None:
    with Proxy(1, {Harm.BLACK_HOLE: 1.0}) as proxy:
        proxy.is_armed = True
        connection = ask(proxy, echo)
        eventually(lambda: proxy.done[Harm.BLACK_HOLE])
    assert connection.recv(10) == b""
    connection.close()
