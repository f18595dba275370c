"""XML-RPC on its wire and under faults: what foreign clients send; processes die or are started twice."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.faults.kinds.xmlrpc import (
    BOMB,
    GOOD,
    INSULT,
    INSULT_ME,
    ITEMS,
    KINDS,
    MEBIBYTE,
    call,
    multicall,
    post,
    text,
)
from lab.contract import Application, Architecture
from lab.errors import Code, InvalidRequest, LabError, error_from_text
from lab.process.serving import Executor, Method
from lab.process.system import System
from lab.topology import BROADCASTER, MASTER, NODE
from tests.conftest import StartSystem
from tests.direct import DirectFaults, port_of, refused
from tests.wire import (
    ANSWER_SECONDS,
    BadInput,
    Bombs,
    NodeFailure,
    Wire,
    assert_refused,
    each,
    mutated,
    one_node,
)
from xmlrpc.client import Fault, ServerProxy, loads
from xmlrpc.tuned.server import XmlRpcServer
from xmlrpc.tuned.wire import parse_answer, parse_call, write_answer, write_call

node = one_node("xmlrpc")
shared_filter = one_node("xmlrpc", Application.FILTER, Architecture.N_NODE)


def connected(system: System) -> socket.socket:
    parts = urlsplit(system.nodes[0].address)
    return socket.create_connection((parts.hostname, parts.port), ANSWER_SECONDS)


def answer(connection: socket.socket) -> bytes:
    """Read the body of the next HTTP response."""
    response = HTTPResponse(connection, method="POST")
    response.begin()
    assert response.status == 200
    return response.read()


def value(body: bytes) -> Any:
    return loads(body)[0][0]


def fault(body: bytes) -> Fault:
    with pytest.raises(Fault) as caught:
        loads(body)
    return caught.value


class XmlRpcWire(Wire):
    """One HTTP connection; good requests come from Python's own client."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.connection = connected(system)

    def refusal(self, *sent: Any) -> str:
        self.connection.sendall(*sent)
        refused = fault(answer(self.connection))
        assert -32768 <= refused.faultCode <= -32000
        return refused.faultString

    def result_refusal(self, petition_id: str) -> str:
        with ServerProxy(self.system.nodes[0].address) as proxy, pytest.raises(Fault) as caught:
            proxy.result(petition_id)
        assert caught.value.faultCode == -32603
        return caught.value.faultString

    def serve(self) -> None:
        with ServerProxy(self.system.nodes[0].address) as proxy:
            if self.system.spec.application is Application.FILTER:
                assert proxy.filter(f"quin {INSULT}") == "quin CENSORED"
                return
            proxy.add_insult(INSULT)
            assert INSULT in proxy.get_insults()  # type: ignore[operator]

    def close(self) -> None:
        self.connection.close()


class TestRequests(BadInput):
    wire = XmlRpcWire
    kinds = KINDS


class TestFailure(NodeFailure):
    wire = XmlRpcWire
    node = "shared_filter"


def assert_serves(system: System) -> None:
    with closing(XmlRpcWire(system)) as wire:
        wire.assert_serves()


@pytest.mark.parametrize(("item", "code"), each(ITEMS))
def test_a_bad_call_in_a_multicall_gets_its_code_and_the_others_their_answers(
    node: System, item: str, code: Code
) -> None:
    with connected(node) as connection:
        listing = INSULT_ME.replace("insult_me", "system.listMethods")
        connection.sendall(post(multicall(f"{item}</value><value>{listing}")))
        first, second = value(answer(connection))
    assert_refused(first["faultString"], code)
    assert "insult_me" in second[0]
    assert_serves(node)


def test_a_request_cut_short_by_its_sender_gets_its_code(node: System) -> None:
    with connected(node) as connection:
        connection.sendall(post(GOOD)[:-20])
        connection.shutdown(socket.SHUT_WR)
        assert_refused(fault(answer(connection)).faultString, Code.MALFORMED)
    assert_serves(node)


def test_a_sender_who_says_at_once_that_nothing_more_comes_is_answered(node: System) -> None:
    with connected(node) as connection:
        connection.sendall(post(GOOD))
        connection.shutdown(socket.SHUT_WR)
        assert value(answer(connection)) in (True, False)
    assert_serves(node)


@pytest.mark.slow
def test_a_request_that_does_not_arrive_in_time_gets_its_code(node: System) -> None:
    with connected(node) as connection:
        connection.sendall(post(GOOD)[:-20])
        refused = fault(answer(connection))
    assert_refused(refused.faultString, Code.DEADLINE_EXCEEDED)
    assert_serves(node)


def test_a_request_refused_for_its_content_leaves_the_connection_open(node: System) -> None:
    with connected(node) as connection:
        connection.sendall(post(call("format_disk")))
        assert_refused(fault(answer(connection)).faultString, Code.UNKNOWN_OPERATION)
        connection.sendall(post(GOOD))
        assert value(answer(connection)) in (True, False)


def test_a_text_that_speaks_of_a_document_type_is_only_a_text(node: System) -> None:
    with connected(node) as connection:
        connection.sendall(post(call("add_insult", text("<![CDATA[<!DOCTYPE html>]]>"))))
        assert value(answer(connection)) is True
        connection.sendall(post(call("remove_insult", text("<![CDATA[<!DOCTYPE html>]]>"))))
        assert value(answer(connection)) is True


TAGS = (
    *("methodCall", "methodResponse", "methodName", "params", "param", "value", "fault", "ex:nil", "nil"),
    *("string", "int", "i4", "i8", "biginteger", "double", "bigdecimal", "boolean", "base64"),
    *("array", "data", "struct", "member", "name", "dateTime.iso8601"),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31 - 1) | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc<&"), inner),
    max_leaves=20,
)


def trees(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def element(tag: str, parts: list[str]) -> str:
        return f"<{tag}>{''.join(parts)}</{tag}>"

    return st.builds(element, st.sampled_from(TAGS), st.lists(inner, max_size=4))


XML = st.recursive(st.text(max_size=5).map(escape), trees, max_leaves=25).map(str.encode)
CALLS = [GOOD, call("x", text("&#13;")), multicall("<int>1</int>"), write_call("f", [[1], {"a": b"b"}, None])]
BODIES = st.one_of(st.binary(max_size=300), XML, mutated(CALLS))
REQUESTS = mutated([post(GOOD), post(b"3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length="")])


@given(BODIES)
@example(b"")
@example(
    b"<methodCall><methodName>x</methodName><params><param><value><struct><member><value/></member></struct>"
)
def test_any_body_is_a_call_or_a_documented_code(body: bytes) -> None:
    with suppress(InvalidRequest):
        method, arguments = parse_call(body)
        assert isinstance(method, str)
        assert isinstance(arguments, tuple)


@given(BODIES)
def test_any_answer_is_a_value_or_a_documented_code(body: bytes) -> None:
    with suppress(LabError):
        parse_answer(body)


@given(VALUES)
def test_what_is_written_is_read_again(value: object) -> None:
    assert parse_answer(write_answer(value)) == value
    assert parse_call(write_call("method", [value])) == ("method", (value,))


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """The port of a server with one method."""
    served = XmlRpcServer({"add_insult": Method(lambda arguments, key: True, Executor.LOOP, "Add.")})
    yield served.start("127.0.0.1", 0)
    served.drain(1.0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.one_of(REQUESTS, st.binary(max_size=200), st.sampled_from([kind[0] for kind in KINDS.values()])),
    st.integers(1, 50),
)
def test_any_bytes_get_answers_that_are_values_or_documented_codes(
    server: int, sent: bytes, pieces: int
) -> None:
    with socket.create_connection(("127.0.0.1", server), 10.0) as connection:
        size = max(1, len(sent) // pieces)
        try:
            for start in range(0, len(sent), size):
                connection.sendall(sent[start : start + size])
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # refused before it was all sent
            pass
        for body in _answers(connection):
            said = _fault_string(body)
            error = error_from_text(said)
            assert (error is None) == (said == ""), said
            assert error is None or error.code is not Code.INTERNAL_ERROR


def _fault_string(body: bytes) -> str:
    """Return the fault that *body* is; nothing for an answer."""
    try:
        loads(body)
    except Fault as fault:
        return fault.faultString
    return ""


def _answers(connection: socket.socket) -> Iterator[bytes]:
    """Read one answer after another until the server closes."""
    began = time.monotonic()
    while time.monotonic() - began < 10.0:
        response = HTTPResponse(connection, method="POST")
        try:
            response.begin()
        except (HTTPException, ConnectionResetError):  # closed
            return
        if response.status != 100:
            assert response.status == 200
            yield response.read()
    pytest.fail("the server did not close the connection")


ROOM = MEBIBYTE - 1000


def filled(part: str, before: str = "", after: str = "") -> bytes:
    """Return a call whose argument is *part*, as often as a request can hold it."""
    return post(call("add_insult", before + part * ((ROOM - len(before + after)) // len(part)) + after))


ATTRIBUTES = " ".join(f'a{number}=">"' for number in range(90_000))
BOMBS: dict[str, tuple[bytes, Code]] = {
    "elements": (filled("<value/>", "<array><data>", "</data></array>"), Code.TOO_LARGE),
    "elements nobody knows": (filled("<i/>"), Code.MALFORMED),
    "texts": (filled("<value>x</value>", "<array><data>", "</data></array>"), Code.TOO_LARGE),
    "members": (filled("<member><name>a</name><value/></member>", "<struct>", "</struct>"), Code.TOO_LARGE),
    "attributes": (post(call("add_insult", f"<string {ATTRIBUTES}/>")), Code.TOO_LARGE),
    "attributes of many elements": (
        filled('<value a="" b="" c="" d="" e="" f="" g="" h=""/>', "<array><data>", "</data></array>"),
        Code.TOO_LARGE,
    ),
    "a tag": (post(call("add_insult", f"<{'a' * ROOM}/>")), Code.TOO_LARGE),
    "depth": (filled("<array><data><value>"), Code.MALFORMED),
    "line breaks": (filled("\n"), Code.TOO_LARGE),
    "references": (filled("&amp;", "<string>", "</string>"), Code.TOO_LARGE),
    "comments": (filled("<!---->", "<string>", "</string>"), Code.MALFORMED),
    "digits": (filled("9", "<int>", "</int>"), Code.MALFORMED),
    "a decimal": (filled("9", "<bigdecimal>", "</bigdecimal>"), Code.WRONG_TYPE),
    "base64 of nothing": (filled("\n", "<base64>", "</base64>"), Code.MALFORMED),
    "a billion laughs": (post(call("add_insult", text("&l9;"), head=BOMB)), Code.MALFORMED),
    "chunks of a byte": (
        post(b"1\r\n \r\n" * MEBIBYTE + b"1\r\n \r\n", "Transfer-Encoding: chunked", length=""),
        Code.TOO_LARGE,
    ),
}


class TestBombs(Bombs):
    wire = XmlRpcWire
    kinds = BOMBS


class TestFaults(DirectFaults):
    middleware = "xmlrpc"
    half_a_request = post(GOOD)[:-1]
    too_many = 2000

    def live(self, system: System) -> list[str]:
        with ServerProxy(system.target.address) as master:
            nodes: Any = master.get_nodes()
            return list(nodes["service"])


@pytest.mark.parametrize(
    ("architecture", "role"),
    [(Architecture.ONE_NODE, NODE), (Architecture.N_NODE, MASTER), (Architecture.N_NODE, BROADCASTER)],
)
def test_a_process_that_is_started_twice_says_so_and_the_first_serves_on(
    start_system: StartSystem, architecture: Architecture, role: str
) -> None:
    running = start_system("xmlrpc", Application.SERVICE, architecture)
    first = running.handles[role][0]
    with running.service() as client:
        assert client.add_insult("tonto")
        said = refused(running, first.spec)
        assert f"cannot listen on 127.0.0.1:{port_of(first)}" in said
        assert "does it run already?" in said
        assert client.get_insults() == ["tonto"]


def test_a_second_one_of_n_nodes_at_the_same_port_says_so(start_system: StartSystem) -> None:
    running = start_system("xmlrpc", Application.FILTER, Architecture.N_NODE)
    node = running.nodes[0]
    again = replace(node.spec, arguments=(*node.spec.arguments, "--port", str(port_of(node))))
    assert f"cannot listen on 127.0.0.1:{port_of(node)}" in refused(running, again)
