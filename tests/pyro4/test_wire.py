"""Whatever arrives at a Pyro4 node gets an error with its code, and the node goes on serving."""

from collections.abc import Iterator

import Pyro4
import pytest

from lab.contract import Application, Architecture
from lab.errors import Code
from lab.process.system import System
from tests.conftest import StartSystem
from tests.eventually import eventually
from tests.pyro4.kinds import (
    FIRST,
    GOOD,
    KINDS,
    OBJECT,
    ONEWAY,
    adding,
    call,
    packed,
)
from tests.pyro4.raw_client import Client
from tests.wire import (
    BROKEN_RESULT,
    INSULT,
    assert_internal_error,
    assert_refused,
    assert_same_process,
    break_a_result,
    each,
    one_node,
)


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest) -> Iterator[System]:
    yield from one_node(request, "pyro4", Application.SERVICE)


@pytest.fixture(scope="module")
def shared_filter(request: pytest.FixtureRequest) -> Iterator[System]:
    yield from one_node(request, "pyro4", Application.FILTER, Architecture.N_NODE)


@pytest.fixture
def client(node: System) -> Iterator[Client]:
    raw = Client(node.nodes[0].address)
    yield raw
    raw.close()


def assert_serves(cluster: System) -> None:
    with Pyro4.Proxy(cluster.nodes[0].address) as proxy:
        assert proxy.add_insult(INSULT) in (True, False)
    assert_same_process(cluster)


@pytest.mark.parametrize(("greeting", "code"), each(FIRST))
def test_a_bad_greeting_gets_its_code_and_the_node_goes_on(node: System, greeting: bytes, code: Code) -> None:
    raw = Client(node.nodes[0].address, greeting)
    assert_refused(raw.refusal(greeting), code)
    raw.close()
    assert_serves(node)


@pytest.mark.parametrize("calls_before", [0, 2])
@pytest.mark.parametrize(("request_bytes", "code"), each(KINDS))
def test_a_bad_call_gets_its_code_and_the_node_goes_on(
    node: System, client: Client, request_bytes: bytes, code: Code, calls_before: int
) -> None:
    for _ in range(calls_before):  # then the connection has no thread of its own
        assert client.ask(packed(*GOOD))[1] in (True, False)
    assert_refused(client.refusal(request_bytes), code)
    assert_serves(node)


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


def test_a_failure_of_the_node_is_an_error_with_an_id_and_its_traceback_stays_in_the_log(
    shared_filter: System, redis_url: str
) -> None:
    break_a_result(redis_url, shared_filter)
    with Pyro4.Proxy(shared_filter.nodes[0].address) as proxy:
        with pytest.raises(ValueError, match="INTERNAL_ERROR: ") as caught:
            proxy.result(BROKEN_RESULT)
        assert_internal_error(shared_filter, str(caught.value))
        assert not getattr(caught.value, "_pyroTraceback", None)
        assert eventually(lambda: proxy.filter(f"quin {INSULT}")) == "quin CENSORED"
    assert_same_process(shared_filter)


@pytest.mark.parametrize("server_type", ["thread", "multiplex"])
def test_calls_that_come_at_once_are_all_answered(system: StartSystem, server_type: str) -> None:
    node = system("pyro4", Application.SERVICE, node_arguments=("--server-type", server_type)).nodes[0]
    client = Client(node.address)
    calls = [call(OBJECT, "add_insult", (insult,), {}) for insult in ("bobo", "zopenco", "bobo")]
    answers = [client.ask(request)[1] for request in (b"".join(calls), b"", b"")]
    client.close()
    assert answers == [True, True, False]
