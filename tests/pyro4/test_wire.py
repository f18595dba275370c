"""Whatever arrives at a Pyro4 node gets an error with its code, and the node goes on serving."""

from collections.abc import Iterator
from typing import Any

import Pyro4
import pytest

from harness.faults.kinds import INSULT
from harness.faults.kinds.pyro4 import FIRST, GOOD, KINDS, OBJECT, ONEWAY, adding, call
from lab.contract import Application, Architecture
from lab.errors import Code
from lab.process.system import System
from tests.conftest import StartSystem
from tests.eventually import eventually
from tests.pyro4.raw_client import Client, GreetingWire, PyroWire, ThreadlessWire
from tests.wire import BadInput, NodeFailure, Wire, assert_refused, assert_same_process, one_node

node = one_node("pyro4")
shared_filter = one_node("pyro4", Application.FILTER, Architecture.N_NODE)


class TestGreetings(BadInput):
    wire = GreetingWire
    kinds = FIRST


class TestCalls(BadInput):
    wire = PyroWire
    kinds = KINDS


class TestCallsWithoutAThread(BadInput):
    wire = ThreadlessWire
    kinds = KINDS


class FilterWire(Wire):
    """A bare proxy of the filter node."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self._proxy = Pyro4.Proxy(system.nodes[0].address)

    def refusal(self, *sent: Any) -> str:
        with pytest.raises(ValueError, match=": ") as caught:
            self._proxy._pyroInvoke(*sent, {})
        assert not getattr(caught.value, "_pyroTraceback", None)
        return str(caught.value)

    def result_refusal(self, petition_id: str) -> str:
        return self.refusal("result", (petition_id,))

    def serve(self) -> None:
        assert eventually(lambda: self._proxy.filter(f"quin {INSULT}")) == "quin CENSORED"

    def close(self) -> None:
        self._proxy._pyroRelease()


class TestFailure(NodeFailure):
    wire = FilterWire
    node = "shared_filter"


@pytest.fixture
def client(node: System) -> Iterator[Client]:
    raw = Client(node.nodes[0].address)
    yield raw
    raw.close()


def assert_serves(system: System) -> None:
    with Pyro4.Proxy(system.nodes[0].address) as proxy:
        assert proxy.add_insult(INSULT) in (True, False)
    assert_same_process(system)


@pytest.mark.parametrize("serializer", ["serpent", "msgpack"])
def test_a_bare_proxy_reads_a_refusal_and_can_call_again(node: System, serializer: str) -> None:
    with Pyro4.Proxy(node.nodes[0].address) as proxy:
        proxy._pyroSerializer = serializer
        with pytest.raises(ValueError, match="TOO_LARGE: ") as caught:
            proxy.add_insult("x" * 201)
        assert_refused(str(caught.value), Code.TOO_LARGE)
        with pytest.raises(ValueError, match="UNKNOWN_OPERATION: "):
            proxy._pyroInvoke("format_disk", (), {})
        assert proxy.add_insult(insult=INSULT) in (True, False)


def test_a_batch_of_a_thousand_large_texts_fits_into_a_serpent_message(node: System) -> None:
    with Pyro4.Proxy(node.nodes[0].address) as proxy:
        proxy._pyroSerializer = "serpent"
        batch = Pyro4.batch(proxy)
        for number in range(1000):
            batch.remove_insult(f'it\'s "{number}" \\ {"ñ" * 180}')
        assert list(batch()) == [False] * 1000
    assert_serves(node)


def test_a_bare_proxy_of_nobody_is_told_so(node: System) -> None:
    address = node.nodes[0].address.rpartition("@")[2]
    with (
        pytest.raises(Pyro4.errors.CommunicationError, match="NOT_FOUND: "),
        Pyro4.Proxy(f"PYRO:nobody@{address}") as proxy,
    ):
        proxy._pyroBind()
    assert_serves(node)


def test_in_a_batch_an_error_stands_in_the_place_of_its_answer(node: System) -> None:
    with Pyro4.Proxy(node.nodes[0].address) as proxy:
        batch = Pyro4.batch(proxy)
        batch.add_insult(INSULT)
        batch.add_insult(insult="x" * 201)
        answers = batch()
        assert next(answers) in (True, False)
        with pytest.raises(ValueError, match="TOO_LARGE: "):
            next(answers)
    assert_serves(node)


@pytest.mark.parametrize("size", [0, 10, 40, 60])
def test_a_message_cut_short_ends_only_its_connection(node: System, client: Client, size: int) -> None:
    client.send(call(*GOOD)[:size])
    client.shut()
    assert client.is_closed()
    assert_serves(node)


def test_calls_that_nobody_waits_for_are_not_answered(node: System, client: Client) -> None:
    for request in (call(OBJECT, "format_disk", (), {}, flags=ONEWAY), adding("7", flags=ONEWAY)):
        client.send(request * 100)
    assert client.ask(call(*GOOD))[1] in (True, False)
    assert "Traceback" not in node.launcher.logs(node.nodes[0])


def test_silent_connections_harm_nobody(node: System) -> None:
    silent = [Client(node.nodes[0].address, b"silent") for _ in range(50)]
    assert_serves(node)
    for connection in silent:
        connection.close()


@pytest.mark.parametrize("server_type", ["thread", "multiplex"])
def test_calls_that_come_at_once_are_all_answered(start_system: StartSystem, server_type: str) -> None:
    node = start_system("pyro4", Application.SERVICE, node_arguments=("--server-type", server_type)).nodes[0]
    client = Client(node.address)
    calls = [call(OBJECT, "add_insult", (insult,), {}) for insult in ("bobo", "zopenco", "bobo")]
    answers = [client.ask(request)[1] for request in (b"".join(calls), b"", b"")]
    client.close()
    assert answers == [True, True, False]
