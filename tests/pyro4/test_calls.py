"""Calls over Pyro4: operation ids that come again, and operations that never wait."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil
import Pyro4
import pytest

from harness.faults.kinds.pyro4 import GOOD, OBJECT, call, packed
from lab.contract import Application, Architecture
from lab.process.system import System
from pyro4.tuned.methods import expose
from pyro4.tuned.name_server import Names
from pyro4.tuned.server import ServedObjects
from tests.conftest import StartSystem
from tests.eventually import eventually
from tests.pyro4.raw_client import Client
from tests.wire import one_node

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


node = one_node("pyro4")


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


MANY = 100
CALL = packed(*GOOD)
SILENCE_SECONDS = 5.0


@contextlib.contextmanager
def clients(node: System, count: int) -> Iterator[list[Client]]:
    """Connect *count* clients that have made a call each that did not block."""
    with contextlib.ExitStack() as stack:
        connected = []
        for _ in range(count):
            client = Client(node.nodes[0].address)
            stack.callback(client.close)
            assert client.ask(CALL)[1] in (True, False)
            connected.append(client)
        yield connected


def threads(node: System) -> int:
    return psutil.Process(node.nodes[0].pid).num_threads()


def test_connections_between_calls_that_do_not_block_have_no_thread_each(node: System) -> None:
    with clients(node, MANY) as connected:
        eventually(lambda: threads(node) < MANY // 2)
        for client in connected:
            assert client.ask(CALL)[1] in (True, False)
        assert threads(node) < MANY // 2


def test_a_client_that_sends_half_a_call_or_reads_no_answer_keeps_nobody_waiting(node: System) -> None:
    page = packed(OBJECT, "get_insults", ("", 1000), {})
    with clients(node, 3) as (slow, deaf, other):
        for number in range(1000):
            other.ask(packed(OBJECT, "add_insult", (f"{number:0200}",), {}))
        slow.send(CALL[:50])
        for _ in range(50):  # 10 MB of answers: more than a socket holds
            deaf.send(page)
            assert other.ask(CALL)[1] in (True, False)
        slow.send(CALL[50:])
        assert slow.ask(b"")[1] in (True, False)
        assert [len(deaf.ask(b"")[1]) for _ in range(50)] == [1000] * 50


def test_a_call_of_another_form_and_one_that_fails_are_answered_in_between(node: System) -> None:
    with clients(node, 1) as (client,):
        for _ in range(3):
            assert client.ask(call(*GOOD))[1] in (True, False)
            assert "TOO_LARGE" in client.refusal(packed(OBJECT, "add_insult", ("x" * 201,), {}))
            assert client.ask(CALL)[1] in (True, False)


def test_a_client_that_leaves_or_is_silent_for_long_is_forgotten(node: System) -> None:
    process = psutil.Process(node.nodes[0].pid)
    with clients(node, 20) as connected:
        most = process.num_fds()
        assert most > 20
        for client in connected[:10]:
            client.close()
        eventually(lambda: process.num_fds() <= most - 10)
        eventually(lambda: process.num_fds() <= most - 20, within=3 * SILENCE_SECONDS)
        assert all(client.is_closed() for client in connected[10:])


def test_beyond_its_bound_a_connection_keeps_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro4.tuned.nonblocking.MAX_CONNECTIONS", 2)
    served = ServedObjects("127.0.0.1", 0, "127.0.0.1")
    served.serve({OBJECT: Nonblocking()})
    question = packed(OBJECT, "insult_me", (), {})
    try:
        with contextlib.ExitStack() as stack:
            connected = [stack.enter_context(contextlib.closing(Client(served.address))) for _ in range(4)]
            for client in 3 * connected:
                assert client.ask(question)[1] == "tonto"
            selector = served.daemon.nonblocking._selector
            eventually(lambda: len(selector.get_map()) == 2)
    finally:
        served.close(1.0)


@expose
class Nonblocking:
    _nonblocking = frozenset({"insult_me"})

    def insult_me(self) -> str:
        return "tonto"
