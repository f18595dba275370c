"""The form that nearly all messages have, read and written without an object for each (decision 10).

A plain message is whole, in msgpack, neither signed nor compressed, and one call or one answer. Whatever else
there is goes the way of Pyro4, which would read and write these, too, with the same bytes on the wire.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgpack  # type: ignore[import-untyped]
from Pyro4 import constants, message, util

from ._settings import MAX_VALUES

HEADER = struct.Struct(message.Message.header_format)
MSGPACK = util.MsgpackSerializer.serializer_id
_serializer = util.get_serializer("msgpack")
_ANNOTATION = struct.Struct("!4sH")
_VERSION, _MAGIC = constants.PROTOCOL_VERSION, message.Message.checksum_magic


class Plain(NamedTuple):
    """A plain message and how many bytes it has."""

    size: int
    seq: int
    annotations: dict[str, bytes]
    content: object


def read(data: bytes, kind: int) -> Plain | None:
    """Return the plain message of *kind* with which *data* begins; none: it is not plain, or not whole."""
    tag, version, its_kind, flags, seq, size, serializer, noted, _, checksum = HEADER.unpack_from(data)
    begin = HEADER.size + noted
    if (
        tag != b"PYRO"
        or (version, its_kind, flags, serializer) != (_VERSION, kind, 0, MSGPACK)
        or checksum != (kind + _VERSION + size + noted + serializer + seq + _MAGIC) & 0xFFFF
        or not 0 < size <= MAX_VALUES  # a larger one may hold too many values
        or len(data) < begin + size
    ):
        return None
    annotations = _annotations(data, begin) if noted else {}
    packed = data[begin : begin + size]
    if annotations is None or "HMAC" in annotations or b"__class__" in packed:  # an object of Pyro4's
        return None
    try:
        content = msgpack.unpackb(packed, raw=False)
    except (ValueError, RecursionError):
        return None
    return Plain(begin + size, seq, annotations, content)


def call(
    served: str, method: str, arguments: Sequence[object], seq: int, annotations: Mapping[str, bytes]
) -> bytes:
    """Return the call of *method* on the object named *served*."""
    content = msgpack.packb((served, method, arguments, {}), default=_serializer.default)
    return write(message.MSG_INVOKE, seq, content, annotations)


def write(kind: int, seq: int, content: bytes, annotations: Mapping[str, bytes]) -> bytes:
    """Return the plain message of *kind* with *content*, which is msgpack already."""
    noted = b""
    for name, value in annotations.items():
        noted += _ANNOTATION.pack(name.encode("ascii"), len(value)) + value
    size, noted_size = len(content), len(noted)
    checksum = (kind + _VERSION + size + noted_size + MSGPACK + seq + _MAGIC) & 0xFFFF
    header = HEADER.pack(b"PYRO", _VERSION, kind, 0, seq, size, MSGPACK, noted_size, 0, checksum)
    return header + noted + content


def _annotations(data: bytes, end: int) -> dict[str, bytes] | None:
    """Return the annotations between the header and *end*; none: they do not fit."""
    found, at = {}, HEADER.size
    while at + _ANNOTATION.size <= end:
        name, size = _ANNOTATION.unpack_from(data, at)
        at += _ANNOTATION.size
        if not name.isascii():
            return None
        found[name.decode()] = data[at : at + size]
        at += size
    return found if at == end else None
