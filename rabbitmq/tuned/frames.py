"""pika's connection, with its dearest paths replaced: it reads and writes many messages at a time.

Replaced parts of pika: it calls ``send`` three times for each message, and for each frame it copies all that
it has read. Here one ``send`` takes all that is published in one turn, and a delivery whose frames are all
there is read in one step. The rest, such as a body of many frames, goes through pika's own code. Headers that
pika cannot read, and bodies that are too long, no longer end the connection: the broker would deliver such a
message again, and end the next connection, until no node is left.
"""

import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import cast

import pika
from pika.adapters.utils.io_services_utils import _AsyncPlaintextTransport, _AsyncTransportBase
from pika.channel import ContentFrameAssembler
from pika.exceptions import InvalidFieldTypeException
from pika.frame import Body, Header, Method, decode_frame
from pika.spec import (
    FRAME_BODY,
    FRAME_END,
    FRAME_END_SIZE,
    FRAME_HEADER,
    FRAME_HEADER_SIZE,
    FRAME_METHOD,
    Basic,
    BasicProperties,
)

from lab.limits import MAX_REQUEST_BYTES

from .wire import UNREADABLE

# pika reads 4 KiB at a time. Private, but a constant.
_AsyncTransportBase._MAX_RECV_BYTES = 64 * 1024
MOST_GATHERED_BYTES = 64 * 1024
_FRAME = struct.Struct(">BHI")
_HEADER = struct.Struct(">BHIHHQ")
"""A header frame up to its properties."""
_TAG_AND_BITS = struct.Struct(">QB")
_AROUND = FRAME_HEADER_SIZE + FRAME_END_SIZE
_END = bytes([FRAME_END])
_DELIVER = struct.pack(">I", Basic.Deliver.INDEX)
_PROTOCOL_HEADER = b"AMQP"
_USUAL = {
    BasicProperties.FLAG_CONTENT_TYPE: "content_type",
    BasicProperties.FLAG_DELIVERY_MODE: "delivery_mode",
    BasicProperties.FLAG_CORRELATION_ID: "correlation_id",
    BasicProperties.FLAG_REPLY_TO: "reply_to",
    BasicProperties.FLAG_MESSAGE_ID: "message_id",
    BasicProperties.FLAG_TYPE: "type",
}
"""The properties that we use, in the order of the wire: texts, and one number."""
_UNUSUAL_FLAGS = 0xFFFF & ~sum(_USUAL)
_UNUSUAL = tuple(vars(BasicProperties()).keys() - _USUAL.values())
_MOST_LETTERS = 255


class GatheringConnection(pika.SelectConnection):  # type: ignore[misc]
    """A connection that sends what is published during :meth:`gathering` at its end, all at once.

    Any thread may gather and publish, one at a time: it holds *lock*. Only the thread that opened the
    connection reads, and waits until the socket takes more.
    """

    _is_gathering = False
    _frame_buffer: bytes
    """The beginning of a frame whose end has not come yet."""

    def __init__(self, lock: threading.RLock, *arguments: object, **settings: object) -> None:
        self._lock = lock
        self._reader = threading.get_ident()
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        super().__init__(*arguments, **settings)

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Send what is published in this block when it ends."""
        with self._lock:
            is_outermost, self._is_gathering = not self._is_gathering, True
            try:
                yield
            finally:
                if is_outermost:
                    self._is_gathering = False
                    self._send_gathered()

    def _send_gathered(self) -> None:
        with self._lock:
            gathered = b"".join(self._gathered)
            self._gathered.clear()
            transport = self._transport
            if transport is None or not gathered:
                return
            if isinstance(transport, _AsyncPlaintextTransport) and not transport.get_write_buffer_size():
                with suppress(OSError):  # it would block, or is broken: the transport sees it, too
                    gathered = gathered[transport._sock.send(gathered) :]
            self._gathered_bytes = len(gathered)
            if gathered and self._is_read_here:
                self._gathered_bytes = 0
                transport.write(gathered)
            elif gathered:
                self._gathered.append(gathered)
                self.ioloop.add_callback_threadsafe(self._send_gathered)

    @property
    def _is_read_here(self) -> bool:
        return threading.get_ident() == self._reader

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        with self._lock:
            self._gathered += marshaled_frames
            size = sum(map(len, marshaled_frames))
            self._gathered_bytes += size
            self.bytes_sent += size
            self.frames_sent += len(marshaled_frames)
            is_much = self._gathered_bytes >= MOST_GATHERED_BYTES and self._is_read_here
            if not self._is_gathering or is_much:
                self._send_gathered()

    def _send_message(
        self, channel_number: int, method_frame: Basic.Publish, content: tuple[BasicProperties, bytes]
    ) -> None:
        properties, body = content
        if len(body) > self._body_max_length:
            super()._send_message(channel_number, method_frame, content)
            return
        publish = _publish(
            channel_number, method_frame.exchange, method_frame.routing_key, method_frame.mandatory
        )
        header = _header(channel_number, properties, len(body))
        frames = [publish, header, _END]
        if body:
            frames += [_FRAME.pack(FRAME_BODY, channel_number, len(body)), body, _END]
        self._output_marshaled_frames(frames)

    def _on_data_available(self, data_in: bytes) -> None:
        data = self._frame_buffer + data_in
        self._frame_buffer = b""
        end = 0
        with self.gathering():
            while (start := end) < (end := self._read(data, start)):
                pass
        self._frame_buffer = data[end:]
        self.bytes_received += end

    def _read(self, data: bytes, start: int) -> int:
        """Read the frame or delivery at *start*. Return where it ends; *start* if it is not all there."""
        if len(data) < start + _AROUND:
            return start
        kind, number, length = _FRAME.unpack_from(data, start)
        end: int = start + _AROUND + length
        if data.startswith(_PROTOCOL_HEADER, start):  # the broker speaks another version
            end = start + _AROUND
        if end > len(data):
            return start
        if kind == FRAME_METHOD and data.startswith(_DELIVER, start + FRAME_HEADER_SIZE):
            delivered = self._deliver(data, start, end, number)
            if delivered:
                return delivered
        _, frame = decode_frame(data[start:end])
        self._process_frame(frame)
        return end

    def _deliver(self, data: bytes, start: int, header: int, number: int) -> int:
        """Deliver the message at *start*; return where it ends. Return 0 if pika has to read it."""
        if len(data) < header + _HEADER.size:
            return 0
        kind, same_number, length, _, _, size = _HEADER.unpack_from(data, header)
        body = header + _AROUND + length
        end: int = body + _AROUND + size if size else body
        if kind != FRAME_HEADER or same_number != number or end > len(data) or data[end - 1] != FRAME_END:
            return 0
        if size and _FRAME.unpack_from(data, body) != (FRAME_BODY, number, size):
            return 0
        after_name = start + 12 + data[start + 11]
        consumer = data[start + 12 : after_name].decode()
        channel = self._channels.get(number)
        if channel is None or consumer in channel._cancelled or consumer not in channel._consumers:
            return 0
        tag, bits = _TAG_AND_BITS.unpack_from(data, after_name)
        properties = _decoded(data[header + _HEADER.size : body - FRAME_END_SIZE])
        content = data[body + FRAME_HEADER_SIZE : end - FRAME_END_SIZE] if size else b""
        channel._consumers[consumer](
            channel, Basic.Deliver(consumer, tag, bool(bits & 1)), properties, content
        )
        return end


@lru_cache(maxsize=4096)
def _publish(number: int, exchange: str | bytes, routing_key: str | bytes, mandatory: bool) -> bytes:
    marshaled: bytes = Method(number, Basic.Publish(0, exchange, routing_key, mandatory)).marshal()
    return marshaled


def _header(number: int, properties: BasicProperties, size: int) -> bytes:
    """Return the header frame of a message with a body of *size* bytes, without the frame's end."""
    encoded = _encoded(properties)
    return _HEADER.pack(FRAME_HEADER, number, len(encoded) + 12, BasicProperties.INDEX, 0, size) + encoded


def _encoded(properties: BasicProperties) -> bytes:
    """Return encoded properties, as ``properties.encode()`` has them."""
    values = vars(properties)
    if any(values[name] is not None for name in _UNUSUAL):
        return b"".join(properties.encode())
    flags, pieces = 0, [b""]
    for flag, name in _USUAL.items():
        if (value := values[name]) is not None:
            flags |= flag
            if isinstance(value, int):
                pieces.append(bytes((value,)))
            else:
                encoded = value.encode() if isinstance(value, str) else value
                if len(encoded) > _MOST_LETTERS:
                    return b"".join(properties.encode())  # raises pika's error
                pieces += bytes((len(encoded),)), encoded
    pieces[0] = flags.to_bytes(2, "big")
    return b"".join(pieces)


def _decoded(encoded: bytes) -> BasicProperties:
    """Decode properties; pika decodes unusual ones. A text that is not UTF-8 stays bytes, as with pika."""
    flags = int.from_bytes(encoded[:2], "big")
    properties = BasicProperties()
    values = vars(properties)
    position = 2
    for flag, name in _USUAL.items():
        if flags & flag and position < len(encoded):
            value = encoded[position]
            position += 1
            if flag == BasicProperties.FLAG_DELIVERY_MODE:
                values[name] = value
                continue
            text = encoded[position : position + value]
            position += value
            try:
                values[name] = text.decode()
            except UnicodeDecodeError:
                values[name] = text
    if flags & _UNUSUAL_FLAGS or position != len(encoded):
        return BasicProperties().decode(encoded)
    return properties


_ERRORS = (
    ValueError,
    ArithmeticError,
    LookupError,
    OSError,
    RecursionError,
    struct.error,
    InvalidFieldTypeException,
)
_decode_strictly = BasicProperties.decode


def _decode(properties: BasicProperties, encoded: bytes, offset: int = 0) -> BasicProperties:
    """Decode the properties of a message, without its headers if pika cannot read them.

    For example, pika cannot read a time after the year 9999, or 5,000 tables nested in one another.
    """
    try:
        return cast(BasicProperties, _decode_strictly(properties, encoded, offset))
    except _ERRORS:
        _decode_strictly(properties, _without_headers(encoded[offset:]))
        properties.headers = {UNREADABLE: True}
        return properties


def _without_headers(encoded: bytes) -> bytes:
    """Return encoded properties with an empty table of headers."""
    (flags,) = struct.unpack_from(">H", encoded)
    start = 2
    for flag in (BasicProperties.FLAG_CONTENT_TYPE, BasicProperties.FLAG_CONTENT_ENCODING):
        start += 1 + encoded[start] if flags & flag else 0
    (size,) = struct.unpack_from(">I", encoded, start)
    return encoded[:start] + bytes(4) + encoded[start + 4 + size :]


class BoundedAssembler(ContentFrameAssembler):  # type: ignore[misc]
    """Collects a body. Of one that is too long, it keeps only enough to show that it is too long.

    Each of our channels has one. It is not set for pika as a whole: stock clients of this process read longer
    replies.
    """

    def _handle_body_frame(self, frame: Body) -> tuple[Method, Header, bytes] | None:
        if self._seen_so_far > MAX_REQUEST_BYTES:
            self._seen_so_far += len(frame.fragment)
            frame.fragment = b""
        return cast("tuple[Method, Header, bytes] | None", super()._handle_body_frame(frame))


BasicProperties.decode = _decode
