"""Small messages made to cost much are refused at once, and harm nobody. Figures are printed."""

from harness.faults.kinds.pyro4 import (
    COMPRESSED,
    MEBIBYTE,
    MSGPACK,
    OBJECT,
    adding,
    annotation,
    call,
    message,
)
from lab.errors import Code
from lab.limits import MAX_BATCH
from tests.bombs import Bombs
from tests.pyro4.raw_client import PyroWire
from tests.wire import one_node

ROOM = MEBIBYTE - 1000
DEEP = b"\xdc\x00\xff"  # an array of 255
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
