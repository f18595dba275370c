"""Frames on the wire: what we write and read is what pika writes and reads, however it is cut into pieces."""

import threading
from collections.abc import Callable

import pika
import pytest
from hypothesis import given, strategies
from pika.callback import CallbackManager
from pika.channel import Channel
from pika.exceptions import InvalidFrameError, ShortStringTooLong
from pika.frame import Body, Header, Method
from pika.spec import FRAME_MAX_SIZE, Basic, BasicProperties

from rabbitmq.tuned.frames import GatheringConnection

TEXTS = strategies.none() | strategies.text(max_size=40) | strategies.binary(max_size=40)
PROPERTIES = strategies.builds(
    BasicProperties,
    content_type=TEXTS,
    content_encoding=TEXTS,
    headers=strategies.none()
    | strategies.dictionaries(strategies.text(max_size=9), strategies.integers(0, 9)),
    delivery_mode=strategies.sampled_from([None, 1, 2]),
    correlation_id=TEXTS,
    reply_to=TEXTS,
    message_id=TEXTS,
    timestamp=strategies.none() | strategies.integers(0, 2**32),
    type=TEXTS,
)
MESSAGES = strategies.lists(strategies.tuples(PROPERTIES, strategies.binary(max_size=300)), max_size=6)


class Wire(GatheringConnection):
    """A connection without a network: a test gives it bytes and takes those that it sends."""

    def __init__(self) -> None:
        self._lock, self._reader = threading.RLock(), threading.get_ident()
        self._gathered, self._gathered_bytes = [], 0
        self._transport = self
        self.sent: list[bytes] = []
        self.asked: list[Callable[[], None]] = []
        self.bytes_sent = self.frames_sent = self.bytes_received = self.frames_received = 0
        self._frame_buffer, self._body_max_length = b"", FRAME_MAX_SIZE - 8
        self.callbacks = CallbackManager()
        self.delivered: list[tuple[int, int, bool, BasicProperties, bytes]] = []
        self._channels = {1: Channel(self, 1, lambda _: None), 2: Channel(self, 2, lambda _: None)}
        for number, channel in self._channels.items():
            channel._consumers[f"consumer {number}"] = self._note

    @property
    def ioloop(self) -> "Wire":
        return self

    def add_callback_threadsafe(self, work: Callable[[], None]) -> None:
        self.asked.append(work)

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def _note(self, channel: Channel, method: Basic.Deliver, about: BasicProperties, body: bytes) -> None:
        tag, again = method.delivery_tag, method.redelivered
        self.delivered.append((channel.channel_number, tag, again, about, body))


def delivery(number: int, tag: int, properties: BasicProperties, body: bytes, size: int) -> bytes:
    """Return a delivery as a broker sends it whose frames are *size* bytes at most."""
    deliver = Basic.Deliver(f"consumer {number}", tag, tag % 2 == 0, "", "queue")
    bodies = [Body(number, body[start : start + size]) for start in range(0, len(body), size)]
    frames = [Method(number, deliver), Header(number, len(body), properties), *bodies]
    return b"".join(frame.marshal() for frame in frames)


@given(PROPERTIES, strategies.binary(max_size=100))
def test_a_message_is_written_as_pika_writes_it(properties: BasicProperties, body: bytes) -> None:
    ours, theirs, method = Wire(), Wire(), Basic.Publish(0, "exchange", "key", True)
    ours._send_message(1, method, (properties, body))
    pika.SelectConnection._send_message(theirs, 1, method, (properties, body))
    assert b"".join(ours.sent) == b"".join(theirs.sent)
    assert ours.bytes_sent == len(b"".join(ours.sent))


def test_a_body_of_several_frames_is_written_as_pika_writes_it() -> None:
    ours, theirs, method = Wire(), Wire(), Basic.Publish(0, "", "key", False)
    content = BasicProperties(), b"x" * (2 * FRAME_MAX_SIZE + 1)
    ours._send_message(1, method, content)
    pika.SelectConnection._send_message(theirs, 1, method, content)
    assert b"".join(ours.sent) == b"".join(theirs.sent)


@given(MESSAGES, strategies.integers(1, 400), strategies.integers(1, 200))
def test_deliveries_are_read_however_they_are_cut(
    messages: list[tuple[BasicProperties, bytes]], piece: int, frame: int
) -> None:
    wire, stream = Wire(), b""
    expected = []
    for tag, (properties, body) in enumerate(messages, 1):
        number = 1 + tag % 2
        stream += delivery(number, tag, properties, body, frame)
        about = BasicProperties().decode(b"".join(properties.encode()))
        expected.append((number, tag, tag % 2 == 0, about, body))
    for start in range(0, len(stream), piece):
        wire._on_data_available(stream[start : start + piece])
    assert wire.delivered == expected
    assert wire.bytes_received == len(stream)


def test_frames_of_two_channels_may_be_mixed() -> None:
    wire, about = Wire(), BasicProperties()
    first, second = (delivery(number, 1, about, b"body", 9) for number in (1, 2))
    cut = len(Method(1, Basic.Deliver("consumer 1", 1, False, "", "queue")).marshal())
    wire._on_data_available(first[:cut] + second + first[cut:])
    assert [number for number, *_ in wire.delivered] == [2, 1]


def test_a_frame_without_its_end_is_an_error() -> None:
    wire = Wire()
    damaged = bytearray(delivery(1, 1, BasicProperties(), b"body", 9))
    damaged[-1] = 0
    with pytest.raises(InvalidFrameError):
        wire._on_data_available(bytes(damaged))


def test_a_property_that_is_too_long_is_an_error_and_nothing_is_sent() -> None:
    wire = Wire()
    with pytest.raises(ShortStringTooLong):
        wire._send_message(1, Basic.Publish(), (BasicProperties(reply_to="x" * 256), b""))
    assert wire.sent == []


def test_what_is_published_while_gathering_goes_out_at_once_and_in_order() -> None:
    wire, method = Wire(), Basic.Publish(0, "", "key", False)
    with wire.gathering():
        with wire.gathering():
            wire._send_message(1, method, (BasicProperties(), b"first"))
        wire._send_message(1, method, (BasicProperties(), b"second"))
        assert wire.sent == []
    (sent,) = wire.sent
    assert sent.index(b"first") < sent.index(b"second")


def test_another_thread_leaves_to_the_reader_what_the_socket_does_not_take() -> None:
    wire = Wire()
    thread = threading.Thread(target=lambda: wire._output_marshaled_frames([b"abc"]))
    thread.start()
    thread.join()
    assert wire.sent == []
    wire.asked.pop()()
    assert wire.sent == [b"abc"]
