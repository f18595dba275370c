"""Pyro4's messages: what any Pyro4 client sends is answered, and the fast path writes what Pyro4 would."""

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import Pyro4
import pytest
from hypothesis import given
from hypothesis import strategies as st
from Pyro4 import message, socketutil, util

from harness.faults.kinds.pyro4 import FIRST, GOOD, INSULT, KINDS, OBJECT, ONEWAY, adding, call
from lab.contract import Application, Architecture
from lab.errors import Code, LabError
from lab.process.system import System
from lab.settings import settings
from pyro4.tuned import wire
from pyro4.tuned.connection import PyroConnection
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


NOTES = st.dictionaries(st.text("ABCXYZ", min_size=4, max_size=4), st.binary(max_size=40), max_size=3)
KIND = message.MSG_INVOKE
META = {"methods": ["insult_me"], "oneway": [], "attrs": []}


def pyro_message(
    content: bytes, seq: int, notes: dict[str, bytes], flags: int = 0, serializer: int = 6
) -> bytes:
    return bytes(message.Message(KIND, content, serializer, flags, seq, notes).to_bytes())


@given(st.text(max_size=50), st.lists(st.text(max_size=50)), st.integers(0, 0xFFFF), NOTES)
def test_a_call_is_what_pyro4_would_write_and_is_read_again(
    method: str, arguments: list[str], seq: int, notes: dict[str, bytes]
) -> None:
    written = wire.write_call("served", method, arguments, seq, notes)
    found = wire.read_fast(written + b"the next", KIND)
    assert found is not None
    assert (found.size, found.seq, found.annotations) == (len(written), seq, notes)
    assert found.content == ["served", method, arguments, {}]
    assert pyro_message(written[wire.HEADER.size + _noted(notes) :], seq, notes) == written


@given(st.binary(min_size=wire.HEADER.size, max_size=200))
def test_rubbish_is_not_of_the_fast_path(data: bytes) -> None:
    assert wire.read_fast(data, KIND) is None


@given(st.data())
def test_a_changed_byte_never_makes_the_reader_fail(data: st.DataObject) -> None:
    written = bytearray(wire.write_call("served", "insult_me", (), 7, {"OPID": b"abc"}))
    written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))
    wire.read_fast(bytes(written), KIND)


@pytest.mark.parametrize(
    "data",
    [
        wire.write_call("served", "insult_me", (), 7, {})[:-1],
        wire.write_call("served", "insult_me", (), 7, {"HMAC": b"x" * 20}),
        wire.write_call("served", "add", ({"__class__": "set"},), 7, {}),
        wire.write_call("served", "add", ("x" * 20_001,), 7, {}),
        pyro_message(b"\x90", 7, {}, flags=message.FLAGS_BATCH),
        pyro_message(b"\x90", 7, {}, flags=message.FLAGS_COMPRESSED),
        pyro_message(b"[]", 7, {}, serializer=1),
        pyro_message(b"\x91" * 5000, 7, {}),
        struct.pack(message.Message.header_format, b"PYRO", 48, KIND, 0, 7, -5, 6, 0, 0, 0),
    ],
    ids=["not whole", "signed", "an object", "long", "batch", "compressed", "serpent", "nested", "negative"],
)
def test_every_other_message_is_left_to_pyro4(data: bytes) -> None:
    assert wire.read_fast(data, KIND) is None


def _noted(notes: dict[str, bytes]) -> int:
    return sum(6 + len(value) for value in notes.values())


@pytest.mark.parametrize(
    ("usual", "chosen", "sent"), [("serpent", None, 1), ("msgpack", None, 6), ("msgpack", "serpent", 1)]
)
def test_a_call_is_in_the_serializer_that_was_chosen(
    monkeypatch: pytest.MonkeyPatch, usual: str, chosen: str | None, sent: int
) -> None:
    monkeypatch.setenv("LAB_PYRO_SERIALIZER", usual)
    settings.cache_clear()
    seen: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: seen.extend(serializers_of_two_messages(listener)))
        thread.start()
        connection = PyroConnection(f"PYRO:served@127.0.0.1:{listener.getsockname()[1]}", chosen)
        with pytest.raises(LabError):
            connection.call("insult_me", (), 5.0)
        thread.join()
    settings.cache_clear()
    assert seen == [sent, sent]


def serializers_of_two_messages(listener: socket.socket) -> list[int]:
    """Welcome a client, read its call, and close; return the serializers that both were in."""
    stream, _ = listener.accept()
    with stream:
        stream_of_pyro = socketutil.SocketConnection(stream)
        first = message.Message.recv(stream_of_pyro)
        serializer = util.get_serializer_by_id(first.serializer_id)
        content, _ = serializer.serializeData(
            {"handshake": "hello", "meta": {"methods": ["insult_me"], "oneway": [], "attrs": []}}
        )
        flags = message.FLAGS_META_ON_CONNECT
        answer = message.Message(message.MSG_CONNECTOK, content, first.serializer_id, flags, first.seq)
        stream_of_pyro.send(answer.to_bytes())
        return [first.serializer_id, message.Message.recv(stream_of_pyro).serializer_id]
