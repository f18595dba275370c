"""Whatever bytes come: XML-RPC's parsers give a value or a documented code, never another exception."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.faults.kinds.xmlrpc import GOOD, KINDS, call, multicall, post, text
from lab.errors import Code, InvalidRequest, LabError, error_from_text
from lab.process.serving import Executor, Method
from tests.wire import mutated
from xmlrpc.client import Fault, loads
from xmlrpc.tuned.server import XmlRpcServer
from xmlrpc.tuned.wire import parse_answer, parse_call, write_answer, write_call

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
