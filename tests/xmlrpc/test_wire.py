"""Whatever arrives at an XML-RPC node gets a Fault with its code, and the node goes on serving."""

import socket
from contextlib import closing
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import pytest

from harness.faults.kinds import INSULT
from harness.faults.kinds.xmlrpc import GOOD, INSULT_ME, ITEMS, KINDS, call, multicall, post, text
from lab.contract import Application, Architecture
from lab.errors import Code
from lab.process.system import System
from tests.wire import ANSWER_SECONDS, BadInput, NodeFailure, Wire, assert_refused, each, one_node
from xmlrpc.client import Fault, ServerProxy, loads

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
