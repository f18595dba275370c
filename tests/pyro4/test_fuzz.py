"""Hostile input over Pyro4: bombs, and messages that are mutated at random."""

import ast
import json
import logging
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.faults.kinds.pyro4 import (
    COMPRESSED,
    CONNECT,
    CONNECT_OK,
    FIRST,
    HEADER,
    INVOKE,
    KINDS,
    MEBIBYTE,
    MSGPACK,
    OBJECT,
    PING,
    SERPENT,
    Header,
    adding,
    annotation,
    call,
    message,
)
from harness.faults.wire import read_exactly
from lab.errors import Code, InvalidRequest, error_from_text
from lab.limits import MAX_BATCH
from pyro4.tuned.master import read_heartbeat
from pyro4.tuned.methods import checked, expose
from pyro4.tuned.node import wire_of
from pyro4.tuned.server import ServedObjects
from tests.pyro4.raw_client import PyroWire
from tests.wire import JSON, Bombs, mutated, one_node

ECHO = "echo"
GREETING = message(repr({"handshake": "hello", "object": ECHO}).encode(), CONNECT)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "application": st.sampled_from(["service", "filter", "x"]) | JSON,
        "name": st.text() | JSON,
        "uri": st.sampled_from(["PYRO:a@127.0.0.1:1", "PYRO:a@./u:x", "PYRO:@:", "PYROMETA:a"]) | JSON,
    },
)
MESSAGES = st.builds(
    message,
    st.binary(max_size=100)
    | JSON.map(lambda value: repr(value).encode())
    | st.binary(max_size=40).map(lambda data: b"\x94\xa4echo\xa4echo" + data),
    kind=st.sampled_from([INVOKE, CONNECT]) | st.integers(0, 10),
    flags=st.integers(0, 127),
    serializer=st.sampled_from([SERPENT, MSGPACK]) | st.integers(0, 9),
    annotations=st.builds(annotation, st.binary(min_size=4, max_size=4), st.binary(max_size=20))
    | st.binary(max_size=30)
    | st.builds(annotation, st.sampled_from([b"OPID", b"HMAC", b"CORR", b"BLBI"]), st.binary(max_size=40)),
)


@expose
class Echo:
    @checked
    def echo(self, text: str) -> str:
        return text


@pytest.fixture(scope="module")
def daemon() -> Iterator[int]:
    """The port of a daemon with one object."""
    served = ServedObjects("127.0.0.1", 0, "127.0.0.1")
    served.serve({ECHO: Echo()})
    yield int(served.address.rpartition(":")[2])
    served.close(1.0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    MESSAGES
    | mutated([call(ECHO, "echo", ("x",), {}), GREETING])
    | st.binary(max_size=60)
    | st.sampled_from([kind[0] for kind in (*KINDS.values(), *FIRST.values())]),
    st.booleans(),
)
@example(message(b"\x94\xa4echo\xa4echo\x91\xd4\x32\x00\x80", serializer=MSGPACK), True)
def test_any_message_gets_a_value_or_a_documented_code(
    daemon: int, caplog: pytest.LogCaptureFixture, sent: bytes, is_greeted: bool
) -> None:
    caplog.clear()
    with socket.create_connection(("127.0.0.1", daemon), 10.0) as connection:
        if is_greeted:
            connection.sendall(GREETING)
            assert _answer(connection)[0].kind == CONNECT_OK  # type: ignore[index]
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # refused before it was all sent
            pass
        while found := _answer(connection):
            if found[0].kind != PING:  # it is answered in kind, with no data in any serializer
                _assert_documented(*found)
    assert not [
        record for record in caplog.records if record.levelno >= logging.ERROR and "failed" in record.message
    ]


def _answer(connection: socket.socket) -> tuple[Header, bytes] | None:
    """Read an answer; None if the connection is closed."""
    try:
        start = read_exactly(connection, HEADER.size)
        header = Header(*HEADER.unpack(start))
        read_exactly(connection, header.annotations_size)
        return header, read_exactly(connection, header.size)
    except ConnectionError:
        return None


def _assert_documented(header: Header, data: bytes) -> None:
    if header.serializer not in (SERPENT, MSGPACK):  # in the sender's own, that it may read why
        assert any(code.encode() + b": " in data for code in Code) or data == b"pong"
        return
    value: Any = msgpack.unpackb(data) if header.serializer == MSGPACK else _literal(data)
    if header.kind == 3:  # a greeting that was refused
        assert error_from_text(value)
    elif isinstance(value, dict) and "__exception__" in value:
        error = error_from_text(value["args"][0])
        assert error, value
        assert error.code is not Code.INTERNAL_ERROR


def _literal(data: bytes) -> Any:
    return ast.literal_eval(data.decode()) if data not in (b"pong", b"") else None


@given(st.text() | JSON.map(json.dumps) | FIELDS.map(json.dumps))
@example("[" * 100_000)
@example('{"application": "service", "name": "\\ud800", "uri": "PYRO:a@b:1"}')
@example("9" * 10_000)
def test_any_heartbeat_is_read_or_gets_a_documented_code(heartbeat: str) -> None:
    with suppress(InvalidRequest):
        application, name, uri = read_heartbeat(heartbeat)
        assert application in ("service", "filter")
        assert name.isprintable()
        assert uri.isprintable()


@given(st.text() | st.text(alphabet="PYRO:a@[]./u1x", max_size=30))
def test_any_subscriber_is_taken_apart_or_gets_a_documented_code(uri: str) -> None:
    with suppress(InvalidRequest):
        before, host, after = wire_of().split(uri)
        assert host
        assert before.endswith("@")
        assert after[1:].isdecimal()


ROOM = MEBIBYTE - 1000
HEAD = b"\x94\xaeinsult.service\xaaadd_insult"


def packed(data: bytes) -> bytes:
    return message(data, serializer=MSGPACK)


def msgpack_list(item: bytes) -> bytes:
    """Return a call whose arguments are *item*, as often as a message can hold it."""
    count = ROOM // len(item)
    return packed(HEAD + b"\xdd" + count.to_bytes(4, "big") + item * count + b"\x80")


def msgpack_lists(item: bytes) -> bytes:
    """The same, in lists of 1,000, within the limit on one list."""
    inner = b"\xdc" + MAX_BATCH.to_bytes(2, "big") + item * MAX_BATCH
    count = min(MAX_BATCH, ROOM // len(inner))
    return packed(HEAD + b"\xdd" + count.to_bytes(4, "big") + inner * count + b"\x80")


BOMBS: dict[str, tuple[bytes, Code]] = {
    "a list in serpent": (adding("[" + "1," * 500_000 + "]"), Code.TOO_LARGE),
    "empty lists in serpent": (adding("[" + "[]," * 300_000 + "]"), Code.TOO_LARGE),
    "a list in serpent just within the bound": (adding("[" + "1," * 8_000 + "]"), Code.WRONG_TYPE),
    "depth in serpent": (adding("[" * 500_000 + "]" * 500_000), Code.TOO_LARGE),
    "depth in serpent within the bound": (adding("(" * 8_000 + ")" * 8_000), Code.MALFORMED),
    "a sum in serpent": (adding("1" + "+1" * 8_000), Code.MALFORMED),
    "powers in serpent": (adding("9**" * 10 + "9"), Code.MALFORMED),
    "texts in serpent": (adding("[" + "''," * 300_000 + "]"), Code.TOO_LARGE),
    "texts without anything between in serpent": (adding("''" * 500_000), Code.TOO_LARGE),
    "one long text in serpent": (adding("'" + "x" * ROOM + "'"), Code.TOO_LARGE),
    "a wide character in serpent": (
        adding("[" + ("'" + "x" * 500_000 + "',") * 2 + "'\U0001f600']"),
        Code.WRONG_TYPE,
    ),
    "numbers in msgpack": (msgpack_list(b"\x00"), Code.TOO_LARGE),
    "lists in msgpack": (msgpack_list(b"\x90"), Code.TOO_LARGE),
    "dictionaries in msgpack": (msgpack_lists(b"\x80"), Code.TOO_LARGE),
    "lists of lists in msgpack": (msgpack_lists(b"\x90"), Code.TOO_LARGE),
    "extensions in msgpack": (msgpack_lists(b"\xd4\x7f\x00"), Code.BAD_ENCODING),
    "depth in msgpack": (packed(b"\x91" * ROOM + b"\x00"), Code.MALFORMED),
    "an announced length in msgpack": (packed(b"\xdd\xff\xff\xff\xff"), Code.MALFORMED),
    "an announced text in msgpack": (packed(b"\xdb\xff\xff\xff\xff"), Code.MALFORMED),
    "a message announced longer than allowed": (call(OBJECT, size=2**31 - 1), Code.TOO_LARGE),
    "compressed gigabytes": (message(b"x" * 1000, flags=COMPRESSED), Code.BAD_ENCODING),
    "annotations": (
        call(OBJECT, "none", (), {}, annotations=annotation(b"XXXX", b"") * 10_000),
        Code.UNKNOWN_OPERATION,
    ),
}

node = one_node("pyro4")


class TestBombs(Bombs):
    wire = PyroWire
    kinds = BOMBS
