"""Connections whose calls do not block share a thread, and none of them can keep the others waiting."""

import contextlib
from collections.abc import Iterator

import psutil
import pytest

from harness.faults.kinds.pyro4 import GOOD, OBJECT, call, packed
from lab.process.system import System
from pyro4.tuned.methods import expose
from pyro4.tuned.server import ServedObjects
from tests.eventually import eventually
from tests.pyro4.raw_client import Client
from tests.wire import one_node

MANY = 100
CALL = packed(*GOOD)
SILENCE_SECONDS = 5.0


node = one_node("pyro4")


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
