"""An operation id reaches its call: each call of a batch has one of its own, and a retry keeps it."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import Pyro4
import pytest

from lab.contract import Application, Architecture
from lab.process.system import System
from pyro4.tuned.name_server import Names
from tests.conftest import StartSystem

CALLS = 3


def with_id(key: str, call: Callable[[], object]) -> object:
    """Make *call* under the operation id *key*."""
    Pyro4.current_context.annotations = {"OPID": key.encode()}
    return call()


def batch_of(proxy: Pyro4.Proxy, *calls: tuple[str, ...]) -> list[object]:
    """Make *calls*, each a method and its arguments, in one batch."""
    batch = Pyro4.batch(proxy)
    for method, *arguments in calls:
        getattr(batch, method)(*arguments)
    return list(batch())


@pytest.mark.parametrize("architecture", Architecture)
@pytest.mark.parametrize("serializer", ["serpent", "msgpack"])
def test_each_change_in_a_batch_has_its_effect_once_however_often_it_is_repeated(
    start_system: StartSystem, architecture: Architecture, serializer: str
) -> None:
    node = start_system("pyro4", Application.SERVICE, architecture).nodes[0]
    insults = [f"tonto {number}" for number in range(CALLS)]
    adding = [("add_insult", insult) for insult in insults]
    removing = [("remove_insult", insult) for insult in insults]
    switching = [("start_broadcast",), ("stop_broadcast",), ("start_broadcast",), ("start_broadcast",)]
    with Pyro4.Proxy(node.address) as proxy:
        proxy._pyroSerializer = serializer
        proxy._pyroBind()
        for _ in range(2):
            assert with_id("adding", lambda: batch_of(proxy, *adding)) == [True] * CALLS
            assert proxy.get_insults() == insults
        for _ in range(2):
            assert with_id("removing", lambda: batch_of(proxy, *removing)) == [True] * CALLS
            assert proxy.get_insults() == []
        for _ in range(2):
            assert with_id("switching", lambda: batch_of(proxy, *switching)) == [True, True, True, False]


def test_each_text_submitted_in_a_batch_has_an_id_and_a_result_of_its_own(start_system: StartSystem) -> None:
    node = start_system("pyro4", Application.FILTER, node_arguments=("--on-demand",)).nodes[0]
    submitting = [("submit", f"tonto {number}") for number in range(CALLS)]
    with Pyro4.Proxy(node.address) as proxy:
        proxy._pyroBind()
        for _ in range(2):
            ids = with_id("texts", lambda: batch_of(proxy, *submitting))
            assert ids == [f"texts/{number}" for number in range(CALLS)]
        resolving = [("resolve",), ("filter", "tonto"), ("resolve",), ("resolve",), ("resolve",)]
        wanted = ["CENSORED 0", "CENSORED", "CENSORED 1", "CENSORED 2", None]
        for _ in range(2):
            assert with_id("resolving", lambda: batch_of(proxy, *resolving)) == wanted
        assert [proxy.result(f"texts/{number}") for number in range(CALLS)] == [
            f"CENSORED {number}" for number in range(CALLS)
        ]


def test_a_single_call_after_a_batch_has_the_id_as_it_was_sent(start_system: StartSystem) -> None:
    node = start_system("pyro4", Application.FILTER).nodes[0]
    with Pyro4.Proxy(node.address) as proxy:
        proxy._pyroBind()
        with_id("first", lambda: batch_of(proxy, ("submit", "a"), ("submit", "b")))
        for serializer in ("serpent", "msgpack"):
            proxy._pyroSerializer = serializer
            assert with_id(serializer, lambda: proxy.submit("c")) == serializer


@contextmanager
def relay(port: int) -> Iterator[tuple[int, list[bytes]]]:
    """Hand bytes on to *port*, but close each connection where the second answer would come.

    The first answer is that to the greeting. Give the relay's port and the answers that were kept back.
    """
    lost: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                asking, _ = listener.accept()
                with asking, socket.create_connection(("127.0.0.1", port)) as answering:
                    answering.sendall(asking.recv(65536))
                    asking.sendall(answering.recv(65536))
                    answering.sendall(asking.recv(65536))
                    lost.append(answering.recv(65536))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1], lost
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture
def node(start_system: StartSystem) -> System:
    return start_system("pyro4", Application.SERVICE)


def test_a_call_repeated_as_the_page_says_keeps_its_id_over_a_connection_that_breaks(node: System) -> None:
    direct = node.nodes[0].address
    names = Names(node.target.address)
    with relay(int(direct.rpartition(":")[2])) as (port, lost), Pyro4.Proxy(direct) as other:
        names.claim("relayed.service", f"PYRO:insult.service@127.0.0.1:{port}")
        with Pyro4.Proxy(f"PYRONAME:relayed.service@{node.target.address}") as proxy:
            proxy._pyroBind()  # without this, the look-up takes the annotation
            for attempt in range(1, 3):  # what it did is not known to the caller
                with pytest.raises(Pyro4.errors.CommunicationError):
                    with_id("lost", lambda: proxy.add_insult("tonto"))
                assert len(lost) == attempt
            assert other.remove_insult("tonto")
            with pytest.raises(Pyro4.errors.CommunicationError):
                with_id("lost", lambda: proxy.add_insult("tonto"))
        assert len(lost) == 3
        assert other.get_insults() == []  # it had its effect once
    names.close()
