"""Kinds of bad input over RabbitMQ, by name, each with the code of its answer."""

import gzip
import json
import struct
from collections.abc import Callable

from pika import data

from lab.errors import Code

MEBIBYTE = 1024 * 1024
INSULT = "tonto"
"""What good requests among them carry."""
ENCODE_VALUE: Callable[[list[bytes], object], int] = data.encode_value

Properties = dict[str, object]


class Written:
    """The value of a header as bytes, its type's letter first. Pika itself would never write it."""

    def __init__(self, kind: bytes, value: bytes) -> None:
        self.bytes = kind + value


def nested(kind: bytes, prefix: bytes = b"") -> Written:
    """Return 5,000 tables or arrays, each inside the next."""
    value = b"t\x01"
    for _ in range(5_000):
        value = kind + struct.pack(">I", len(prefix + value)) + prefix + value
    return Written(b"", value)


def asking(code: str, **fields: object) -> tuple[Properties, bytes]:
    """Return an event with *code*, and *fields* as JSON."""
    return {"type": code}, json.dumps(fields).encode() if fields else b""


FAR_TOO_LATE = Written(b"T", struct.pack(">Q", 2**62))
DEEP_JSON = b'{"after": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

KINDS: dict[str, tuple[Properties, bytes, Code]] = {
    "an empty body": ({}, b"", Code.MALFORMED),
    "an insult of spaces": ({}, b"  \t ", Code.MALFORMED),
    "an insult too long": ({}, b"x" * 201, Code.TOO_LARGE),
    "a body too long": ({}, b"x" * (MEBIBYTE + 1), Code.TOO_LARGE),
    "a body far too long": ({}, b"x" * 8 * MEBIBYTE, Code.TOO_LARGE),
    "not UTF-8": ({}, b"\xff\xfe", Code.BAD_ENCODING),
    "Latin-1": ({}, "est\u00fapido".encode("latin-1"), Code.BAD_ENCODING),
    "UTF-16": ({}, INSULT.encode("utf-16"), Code.BAD_ENCODING),
    "a lone surrogate": ({}, b"\xed\xa0\x80", Code.BAD_ENCODING),
    "a compressed body": ({"content_encoding": "gzip"}, gzip.compress(INSULT.encode()), Code.BAD_ENCODING),
    "a plain body that says that it is compressed": (
        {"content_encoding": "gzip"},
        INSULT.encode(),
        Code.BAD_ENCODING,
    ),
    "an encoding that is not UTF-8": ({"content_encoding": b"\xff"}, INSULT.encode(), Code.BAD_ENCODING),
    "a control character": ({}, b"a\x00b", Code.MALFORMED),
    "a line break in an insult": ({}, b"a\nb", Code.MALFORMED),
    "an unknown operation": (*asking("X9"), Code.UNKNOWN_OPERATION),
    "an operation by its name": (*asking("insult_me"), Code.UNKNOWN_OPERATION),
    "an operation in lower case": (*asking("x1"), Code.UNKNOWN_OPERATION),
    "an operation with a control character": (*asking("X\x1b[2J"), Code.UNKNOWN_OPERATION),
    "an operation of the greatest length": (*asking("x" * 255), Code.UNKNOWN_OPERATION),
    "an operation that is not UTF-8": ({"type": b"\xff"}, b"", Code.BAD_ENCODING),
    "an unknown operation in the header": ({"headers": {"operation": "X9"}}, b"", Code.UNKNOWN_OPERATION),
    "a number as the operation": ({"headers": {"operation": 1}}, b"", Code.UNKNOWN_OPERATION),
    "a table as the operation": ({"headers": {"operation": {"X": 1}}}, b"", Code.UNKNOWN_OPERATION),
    "an operation in the header that is not UTF-8": (
        {"headers": {"operation": Written(b"S", b"\0\0\0\1\xff")}},
        b"",
        Code.BAD_ENCODING,
    ),
    "a time in a header that is far too late": ({"headers": {"x": FAR_TOO_LATE}}, b"", Code.MALFORMED),
    "a header of ours for unreadable headers": (
        {"headers": {"lab-unreadable": Written(b"L", b"\x80" + bytes(7))}},
        b"",
        Code.MALFORMED,
    ),
    "a wrong header of the retry queue": (
        {"type": "X9", "headers": {"lab-deaths": 99, "lab-not-before": 2**62}},
        b"",
        Code.UNKNOWN_OPERATION,
    ),
    "headers nested too deeply": ({"headers": {"x": nested(b"F", b"\1a")}}, b"", Code.MALFORMED),
    "arrays nested too deeply": ({"headers": {"x": nested(b"A")}}, b"", Code.MALFORMED),
    "unreadable headers beside an operation": (
        {"content_type": "text/plain", "content_encoding": "x", "type": "X1", "headers": {"x": FAR_TOO_LATE}},
        b"",
        Code.MALFORMED,
    ),
    "an operation id too long": ({"message_id": "x" * 129}, INSULT.encode(), Code.TOO_LARGE),
    "an operation id that is empty": ({"message_id": ""}, INSULT.encode(), Code.MALFORMED),
    "an operation id with a space": ({"message_id": "one two"}, INSULT.encode(), Code.MALFORMED),
    "an operation id that is not ASCII": ({"message_id": "\u00f1"}, INSULT.encode(), Code.MALFORMED),
    "an operation id that is not UTF-8": ({"message_id": b"\xff"}, INSULT.encode(), Code.BAD_ENCODING),
    "not JSON": ({"type": "X4"}, b"after=a", Code.MALFORMED),
    "JSON cut short": ({"type": "X4"}, b'{"limit": 1', Code.MALFORMED),
    "JSON that is no object": ({"type": "X4"}, b"[1]", Code.WRONG_TYPE),
    "JSON that is not UTF-8": ({"type": "X4"}, b'{"after": "\xff"}', Code.BAD_ENCODING),
    "JSON nested too deeply": ({"type": "X4"}, DEEP_JSON, Code.MALFORMED),
    "a number far too large": ({"type": "X4"}, b'{"limit": %b}' % (b"9" * 10_000), Code.MALFORMED),
    "a lone surrogate in JSON": (*asking("X4", after="\ud800"), Code.BAD_ENCODING),
    "a text in place of a number": (*asking("X4", limit="ten"), Code.WRONG_TYPE),
    "a truth value in place of a number": (*asking("X4", limit=True), Code.WRONG_TYPE),
    "an infinite number": (*asking("X4", limit=float("inf")), Code.WRONG_TYPE),
    "null in place of a text": (*asking("X4", after=None), Code.WRONG_TYPE),
    "a page too large": (*asking("X4", limit=1001), Code.TOO_LARGE),
    "a page with the limit 0": (*asking("X4", limit=0), Code.TOO_LARGE),
    "an `after` that is too long": (*asking("X4", after="x" * 201), Code.TOO_LARGE),
    "an empty insult to remove": (*asking("X5"), Code.MALFORMED),
    "an insult to remove that is too long": ({"type": "X5"}, b"x" * 201, Code.TOO_LARGE),
}

CONTROL: dict[str, tuple[Properties, bytes, Code]] = {
    "no operation": ({}, b"hello", Code.UNKNOWN_OPERATION),
    "an operation of the service": (*asking("X5"), Code.UNKNOWN_OPERATION),
    "an id that is a number": (*asking("X3", petition_id=7), Code.WRONG_TYPE),
    "an id that is too long": (*asking("X3", petition_id="x" * 129), Code.TOO_LARGE),
    "an id that is a lone surrogate": (*asking("X3", petition_id="\ud800"), Code.BAD_ENCODING),
    "an id of no result": (*asking("X3", petition_id="never"), Code.NOT_FOUND),
    "a page too large": (*asking("X3", limit=1001), Code.TOO_LARGE),
    "a plain question that says that it is compressed": (
        {"type": "X3", "content_encoding": "deflate"},
        b'{"limit": 1}',
        Code.BAD_ENCODING,
    ),
}

TEXTS: dict[str, tuple[Properties, bytes, Code]] = {
    "a text too long": ({}, b"x" * (64 * 1024 + 1), Code.TOO_LARGE),
    "a text too long in bytes": ({}, "\u5582".encode() * 30_000, Code.TOO_LARGE),
    "a text that is not UTF-8": ({}, b"tonto \xff", Code.BAD_ENCODING),
    "an id with a space": ({"message_id": "one two"}, b"tonto", Code.MALFORMED),
    "a plain text that says that it is compressed": (
        {"content_encoding": "gzip"},
        b"tonto",
        Code.BAD_ENCODING,
    ),
}

UNANSWERABLE: dict[str, tuple[Properties, bytes]] = {
    "nobody to reply to": ({}, b"a\nb"),
    "nobody to reply to and an unknown operation": asking("X9"),
    "nobody to reply to and unreadable headers": ({"headers": {"x": FAR_TOO_LATE}}, b""),
}

STRANGE_REPLY_QUEUES: dict[str, tuple[object]] = {
    "no queue of that name": ("lab-no-such-queue",),
    "as long as there can be": ("x" * 255,),
    "not UTF-8": (b"\xff",),
    "a reply queue of nobody": ("amq.rabbitmq.reply-to.nobody",),
    "a damaged direct reply": ("amq.rabbitmq.reply-to.g1h2AAAA.bbbb==",),
    "a damaged direct reply that is not UTF-8": (b"amq.rabbitmq.reply-to.g1h2\xff\xff.bbbb",),
}
