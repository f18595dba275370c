"""Kinds of bad input on the wire of Pyro4, by name, each with the code that it gets."""

import pickle
import struct
import zlib
from typing import Any, NamedTuple

import msgpack  # type: ignore[import-untyped]

from lab.errors import Code

MEBIBYTE = 1024 * 1024
INSULT = "tonto"
"""What good requests among them carry."""
OBJECT = "insult.service"
CONNECT, CONNECT_OK, CONNECT_FAIL, INVOKE, RESULT, PING = range(1, 7)
EXCEPTION, COMPRESSED, ONEWAY, BATCH, META, STREAM, KEEP_SERIALIZED = (1 << bit for bit in range(7))
SERPENT, JSON, MARSHAL, PICKLE, MSGPACK = 1, 2, 3, 4, 6


class Header(NamedTuple):
    """The header of a message, as Pyro4 documents it."""

    tag: bytes
    version: int
    kind: int
    flags: int
    seq: int
    size: int
    serializer: int
    annotations_size: int
    reserved: int
    checksum: int


HEADER = struct.Struct("!4sHHHHiHHHH")


def message(
    data: bytes,
    kind: int = INVOKE,
    flags: int = 0,
    serializer: int = SERPENT,
    annotations: bytes = b"",
    **wrong: Any,
) -> bytes:
    """Return a whole message; *wrong* replaces fields of its header."""
    header = Header(b"PYRO", 48, kind, flags, 7, len(data), serializer, len(annotations), 0, 0)
    header = header._replace(**{name: value for name, value in wrong.items() if name != "checksum"})
    checksum = sum(header[1:9]) + 0x34E9 & 0xFFFF
    return HEADER.pack(*header._replace(checksum=wrong.get("checksum", checksum))) + annotations + data


def annotation(name: bytes, value: bytes) -> bytes:
    return name + struct.pack("!H", len(value)) + value


def call(*parts: object, **more: Any) -> bytes:
    """Return a message whose serpent data are *parts*: object, method, arguments, named arguments."""
    return message(repr(parts).encode(), **more)


def adding(insult: str, **more: Any) -> bytes:
    """Return a call of ``add_insult`` with the Python literal *insult*."""
    return message(f"('{OBJECT}', 'add_insult', ({insult},), {{}})".encode(), **more)


def packed(*parts: object, **more: Any) -> bytes:
    return message(msgpack.packb(parts), serializer=MSGPACK, **more)


GREETING = repr({"handshake": "hello", "object": OBJECT}).encode()
GOOD: tuple[object, ...] = (OBJECT, "add_insult", (INSULT,), {})
NESTED = "[" * 5_000 + "]" * 5_000
MARSHALLED = annotation(b"BLBI", b"\xfb" * 40)
SECRET = {"__class__": "__main__.Secret", "__exception__": True, "args": [], "attributes": {}}

FIRST: dict[str, tuple[bytes, Code]] = {
    "HTTP": (b"GET / HTTP/1.1\r\nHost: node\r\nAccept: */*\r\n\r\n", Code.MALFORMED),
    "another version": (message(GREETING, CONNECT, version=49), Code.MALFORMED),
    "a wrong checksum": (message(GREETING, CONNECT, checksum=1), Code.MALFORMED),
    "a call in place of a greeting": (call(*GOOD), Code.MALFORMED),
    "a greeting too long": (message(b" " * 2 * MEBIBYTE, CONNECT), Code.TOO_LARGE),
    "a greeting of negative length": (message(b"", CONNECT, size=-1), Code.MALFORMED),
    "a compressed greeting": (message(zlib.compress(GREETING), CONNECT, COMPRESSED), Code.BAD_ENCODING),
    "a pickled greeting": (message(pickle.dumps({}), CONNECT, serializer=PICKLE), Code.BAD_ENCODING),
    "a marshalled greeting": (message(b"0", CONNECT, serializer=MARSHAL), Code.BAD_ENCODING),
    "a greeting in JSON": (message(b'{"handshake": "hello"}', CONNECT, serializer=JSON), Code.BAD_ENCODING),
    "a serializer that does not exist": (message(GREETING, CONNECT, serializer=99), Code.BAD_ENCODING),
    "an empty greeting": (message(b"", CONNECT), Code.MALFORMED),
    "a greeting that is not UTF-8": (message(b"'\xff'", CONNECT), Code.BAD_ENCODING),
    "a greeting that is no dictionary": (message(b"'hello'", CONNECT), Code.MISSING_FIELD),
    "a greeting that is an empty dictionary": (message(b"{}", CONNECT), Code.MISSING_FIELD),
    "a greeting without an object": (message(b"{'handshake': 0}", CONNECT, META), Code.MISSING_FIELD),
    "a greeting to an unknown object": (
        message(b"{'handshake': 0, 'object': 'x'}", CONNECT, META),
        Code.NOT_FOUND,
    ),
    "a list as the greeting that fills a message": (
        message(b"[" + b"1," * 500_000 + b"]", CONNECT),
        Code.TOO_LARGE,
    ),
    "a greeting nested too deeply": (message(NESTED.encode(), CONNECT), Code.MALFORMED),
    "annotations cut short": (message(GREETING, CONNECT, annotations=b"abc"), Code.MALFORMED),
    "an annotation that is not ASCII": (
        message(GREETING, CONNECT, annotations=annotation(b"\xff" * 4, b"")),
        Code.BAD_ENCODING,
    ),
}

KINDS: dict[str, tuple[bytes, Code]] = {
    "no message of Pyro4's": (b"x" * 100, Code.MALFORMED),
    "a wrong checksum": (call(*GOOD, checksum=1), Code.MALFORMED),
    "a greeting in place of a call": (message(GREETING, CONNECT), Code.MALFORMED),
    "a result in place of a call": (message(b"1", RESULT), Code.MALFORMED),
    "a message too long": (adding(repr("x" * 2 * MEBIBYTE)), Code.TOO_LARGE),
    "a message announced too long": (call(*GOOD, size=2**31 - 1), Code.TOO_LARGE),
    "a message of negative length": (call(*GOOD, size=-5), Code.MALFORMED),
    "annotations cut short": (call(*GOOD, annotations=b"OPID"), Code.MALFORMED),
    "an annotation with an unwanted signature": (
        call(*GOOD, annotations=annotation(b"HMAC", bytes(20))),
        Code.MALFORMED,
    ),
    "a correlation id too short": (call(*GOOD, annotations=annotation(b"CORR", b"1")), Code.MALFORMED),
    "a compressed message": (
        message(zlib.compress(repr(GOOD).encode()), flags=COMPRESSED),
        Code.BAD_ENCODING,
    ),
    "a compressed bomb": (message(zlib.compress(bytes(300 * MEBIBYTE)), flags=COMPRESSED), Code.BAD_ENCODING),
    "a message that says it is compressed": (call(*GOOD, flags=COMPRESSED), Code.BAD_ENCODING),
    "a pickled call": (message(pickle.dumps(GOOD), serializer=PICKLE), Code.BAD_ENCODING),
    "a call in JSON": (message(b"[]", serializer=JSON), Code.BAD_ENCODING),
    "a serializer that does not exist": (call(*GOOD, serializer=99), Code.BAD_ENCODING),
    "a message that stays serialized": (
        call(*GOOD, flags=KEEP_SERIALIZED, annotations=MARSHALLED),
        Code.BAD_ENCODING,
    ),
    "no data": (message(b""), Code.MALFORMED),
    "data that is no call": (message(b"42"), Code.MALFORMED),
    "data that is code": (message(b"__import__('os').getpid()"), Code.MALFORMED),
    "data cut short": (message(repr(GOOD).encode()[:-5]), Code.MALFORMED),
    "data with a zero": (message(repr(GOOD).encode() + b"\0"), Code.MALFORMED),
    "data nested too deeply": (adding(NESTED), Code.MALFORMED),
    "a long sum": (adding("1" + "+1" * 8_000), Code.MALFORMED),
    "a long negation": (adding("-" * 10_000 + "1"), Code.MALFORMED),
    "a list that fills a message": (adding("[" + "1," * 500_000 + "]"), Code.TOO_LARGE),
    "a sum that fills a message": (adding("1" + "+1" * 500_000), Code.TOO_LARGE),
    "a text that does not end": (adding(r"'" + r"\'" * 200_000 + "\\"), Code.MALFORMED),
    "msgpack cut short": (packed(*GOOD)[:-1] + b"\xdd", Code.MALFORMED),
    "msgpack that announces much more": (
        message(b"\xdd\xff\xff\xff\xff", serializer=MSGPACK),
        Code.MALFORMED,
    ),
    "msgpack nested too deeply": (message(b"\x91" * 100_000 + b"\x00", serializer=MSGPACK), Code.MALFORMED),
    "not UTF-8": (
        message(repr(GOOD).encode().replace(b"tonto", b"\xff")),
        Code.BAD_ENCODING,
    ),
    "not UTF-8 in msgpack": (
        message(msgpack.packb(GOOD).replace(b"tonto", b"tont\xff"), serializer=MSGPACK),
        Code.BAD_ENCODING,
    ),
    "a lone surrogate": (adding(r"'\ud800'"), Code.BAD_ENCODING),
    "too few fields": (call(OBJECT, "insult_me"), Code.MALFORMED),
    "too many fields": (call(*GOOD, 5), Code.MALFORMED),
    "an unknown object": (call("nobody", "insult_me", (), {}), Code.NOT_FOUND),
    "an object that is no text": (call([], "insult_me", (), {}), Code.MALFORMED),
    "a method that is no text": (call(OBJECT, 7, (), {}), Code.WRONG_TYPE),
    "no method name": (call(OBJECT, "", (), {}), Code.UNKNOWN_OPERATION),
    "an unknown method": (call(OBJECT, "format_disk", (), {}), Code.UNKNOWN_OPERATION),
    "a method of Python's": (call(OBJECT, "__reduce__", (), {}), Code.UNKNOWN_OPERATION),
    "a method name too long": (call(OBJECT, "x" * 100_000, (), {}), Code.UNKNOWN_OPERATION),
    "a method name with a control character": (call(OBJECT, "x\x1b[2J", (), {}), Code.UNKNOWN_OPERATION),
    "a method of the other application": (call(OBJECT, "filter", ("x",), {}), Code.UNKNOWN_OPERATION),
    "an attribute to read": (call(OBJECT, "__getattr__", ("__dict__",), {}), Code.UNKNOWN_OPERATION),
    "an attribute to write": (call(OBJECT, "__setattr__", ("add_insult", 1), {}), Code.UNKNOWN_OPERATION),
    "no attribute to read": (call(OBJECT, "__getattr__", (), {}), Code.MALFORMED),
    "arguments that are no list": (call(OBJECT, "add_insult", 7, {}), Code.WRONG_TYPE),
    "named arguments that are no dictionary": (call(OBJECT, "add_insult", (), 7), Code.WRONG_TYPE),
    "a named argument without a name": (call(OBJECT, "add_insult", (), {7: "x"}), Code.WRONG_TYPE),
    "an unknown named argument": (call(OBJECT, "add_insult", ("x",), {"self": 1}), Code.WRONG_TYPE),
    "an argument given twice": (call(OBJECT, "add_insult", ("x",), {"insult": "y"}), Code.WRONG_TYPE),
    "too few arguments": (call(OBJECT, "add_insult", (), {}), Code.MISSING_FIELD),
    "too many arguments": (call(OBJECT, "add_insult", ("x", "y"), {}), Code.WRONG_TYPE),
    "a number in place of a text": (adding("42"), Code.WRONG_TYPE),
    "bytes in place of a text": (adding("b'x'"), Code.WRONG_TYPE),
    "null in place of a text": (adding("None"), Code.WRONG_TYPE),
    "an exception in place of a text": (
        call(OBJECT, "add_insult", ({"__class__": "builtins.SystemExit", "__exception__": True},), {}),
        Code.MALFORMED,
    ),
    "a proxy in place of a text": (
        call(OBJECT, "add_insult", ({"__class__": "Pyro4.core.Proxy", "state": ()},), {}),
        Code.MALFORMED,
    ),
    "an object of a class of the sender's": (call(OBJECT, "add_insult", (SECRET,), {}), Code.MALFORMED),
    "a text in place of a number": (call(OBJECT, "get_insults", ("", "ten"), {}), Code.WRONG_TYPE),
    "a page too large": (call(OBJECT, "get_insults", ("", 1001), {}), Code.TOO_LARGE),
    "an empty insult": (adding("''"), Code.MALFORMED),
    "an insult too long": (adding(repr("x" * 201)), Code.TOO_LARGE),
    "a control character": (adding(r"'a\x00b'"), Code.MALFORMED),
    "a line break in an insult": (adding(r"'a\nb'"), Code.MALFORMED),
    "an operation id too long": (call(*GOOD, annotations=annotation(b"OPID", b"x" * 129)), Code.TOO_LARGE),
    "an operation id that is empty": (call(*GOOD, annotations=annotation(b"OPID", b"")), Code.MALFORMED),
    "an operation id with a space": (
        call(*GOOD, annotations=annotation(b"OPID", b"one two")),
        Code.MALFORMED,
    ),
    "an operation id not ASCII": (call(*GOOD, annotations=annotation(b"OPID", b"\xff")), Code.MALFORMED),
    "a subscriber that is no URI": (call(OBJECT, "add_subscriber", ("me",), {}), Code.MALFORMED),
    "a subscriber of another protocol": (
        call(OBJECT, "add_subscriber", ("http://127.0.0.1",), {}),
        Code.MALFORMED,
    ),
    "a subscriber's URI too long": (
        call(OBJECT, "add_subscriber", ("PYRO:" + "x" * 3000,), {}),
        Code.TOO_LARGE,
    ),
    "a batch too large": (
        call(OBJECT, "<batch>", [("insult_me", (), {})] * 1001, {}, flags=BATCH),
        Code.TOO_LARGE,
    ),
    "a batch too large under another name": (
        call(OBJECT, "insult_me", [("insult_me", (), {})] * 1001, {}, flags=BATCH),
        Code.TOO_LARGE,
    ),
    "a batch without calls": (call(OBJECT, "<batch>", [7], {}, flags=BATCH), Code.MALFORMED),
    "a batch with an unknown method": (
        call(OBJECT, "<batch>", [("format_disk", (), {})], {}, flags=BATCH),
        Code.UNKNOWN_OPERATION,
    ),
}
