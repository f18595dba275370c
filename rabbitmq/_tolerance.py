"""Let pika take whatever a message holds: what it cannot read, or keep, must not end the connection.

The broker would deliver the message again, to break the next one, until no node is left to serve.
"""

import struct
from typing import cast

from pika.channel import ContentFrameAssembler
from pika.exceptions import InvalidFieldTypeException
from pika.frame import Body, Header, Method
from pika.spec import BasicProperties

from lab.limits import MAX_REQUEST_BYTES

UNREADABLE = "lab-unreadable"
"""Stands, as a header, for headers that cannot be read."""
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
_append = ContentFrameAssembler._handle_body_frame


def _decode(properties: BasicProperties, encoded: bytes, offset: int = 0) -> BasicProperties:
    """Decode what a message says of itself, without its headers if pika cannot read those.

    It cannot read a time beyond the year 9999, for example, or 5,000 tables in one another.
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


def _keep(assembler: ContentFrameAssembler, frame: Body) -> tuple[Method, Header, bytes] | None:
    """Collect a body; of one that is too long only so much that whoever reads it sees that it is."""
    if assembler._seen_so_far > MAX_REQUEST_BYTES:
        assembler._seen_so_far += len(frame.fragment)
        frame.fragment = b""
    return cast("tuple[Method, Header, bytes] | None", _append(assembler, frame))


BasicProperties.decode = _decode
ContentFrameAssembler._handle_body_frame = _keep
