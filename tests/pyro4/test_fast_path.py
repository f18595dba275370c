"""Messages of the fast path are Pyro4's, byte for byte, and no other message is taken for one."""

import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from Pyro4 import message, socketutil, util

from lab.errors import LabError
from lab.settings import settings
from pyro4.tuned import wire
from pyro4.tuned.connection import PyroConnection

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
