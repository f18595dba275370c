"""Kinds of bad input on the wire of Redis, by name, each with the code that it gets."""

import json

from lab.errors import Code

MEBIBYTE = 1024 * 1024
INSULT = "tonto"
"""What good requests among them carry."""
REPLY_TO = b"<where to reply>"
"""Stands in a petition for the name of the list on which the test waits for the reply."""
WHERE = REPLY_TO.decode()


def petition(code: object, data: object = WHERE, **more: object) -> bytes:
    return json.dumps({"operation": code, "data": data, **more}).encode()


def adding(insult: object, **more: object) -> bytes:
    return petition("X1", insult, reply_to=WHERE, **more)


KINDS: dict[str, tuple[bytes, Code]] = {
    "JSON cut short": (petition("X3")[:-1], Code.MALFORMED),
    "something after the JSON": (petition("X3") + b"}", Code.MALFORMED),
    "single quotes": (b"{'operation': 'X3', \"data\": \"%b\"}" % REPLY_TO, Code.MALFORMED),
    "XML": (b'<petition "data": "%b"/>' % REPLY_TO, Code.MALFORMED),
    "an array": (b"[%b]" % petition("X3"), Code.WRONG_TYPE),
    "nested too deeply": (
        b'{"operation": "X3", "data": "%b", "x": %b}' % (REPLY_TO, b"[" * 100_000 + b"]" * 100_000),
        Code.MALFORMED,
    ),
    "a number far too large": (
        b'{"operation": "X2", "data": "%b", "limit": %b}' % (REPLY_TO, b"9" * 10_000),
        Code.MALFORMED,
    ),
    "thousands of tiny values": (
        b'{"operation": "X3", "data": "%b", "x": [%b1]}' % (REPLY_TO, b"[]," * 100_000),
        Code.MALFORMED,
    ),
    "thousands of fields": (
        petition("X3", **{f"x{number}": number for number in range(10_000)}),
        Code.MALFORMED,
    ),
    "a byte order mark": ("\ufeff".encode() + petition("X3"), Code.MALFORMED),
    "a comma too many": (petition("X3")[:-1] + b",}", Code.MALFORMED),
    "a comment": (petition("X3") + b"// insult me", Code.MALFORMED),
    "two petitions in one": (petition("X3") * 2, Code.MALFORMED),
    "a petition too long": (petition("X3", x="x" * MEBIBYTE), Code.TOO_LARGE),
    "a petition too long in bytes": (
        json.dumps(
            {"operation": "X3", "data": WHERE, "x": "喂" * (MEBIBYTE // 2)}, ensure_ascii=False
        ).encode(),
        Code.TOO_LARGE,
    ),
    "not UTF-8": (adding("tonto").replace(b"tonto", b"\xff\xfe"), Code.BAD_ENCODING),
    "not UTF-8 in a field that nobody reads": (
        petition("X3", x="tonto").replace(b"tonto", b"\xff"),
        Code.BAD_ENCODING,
    ),
    "UTF-16": (adding("tonto").replace(b"tonto", "tonto".encode("utf-16")), Code.BAD_ENCODING),
    "a lone surrogate": (adding("\ud800"), Code.BAD_ENCODING),
    "a lone surrogate as an id": (adding(INSULT, id="\ud800"), Code.BAD_ENCODING),
    "a lone surrogate as bytes": (adding("tonto").replace(b"tonto", b"\xed\xa0\x80"), Code.BAD_ENCODING),
    "no operation": (b'{"data": "%b"}' % REPLY_TO, Code.MISSING_FIELD),
    "null as the operation": (petition(None), Code.MISSING_FIELD),
    "an empty operation": (petition(""), Code.UNKNOWN_OPERATION),
    "an unknown operation": (petition("X9"), Code.UNKNOWN_OPERATION),
    "an operation by its name": (petition("insult_me"), Code.UNKNOWN_OPERATION),
    "an operation in lower case": (petition("x3"), Code.UNKNOWN_OPERATION),
    "a number as the operation": (petition(3), Code.UNKNOWN_OPERATION),
    "an object as the operation": (petition({"X": 3}), Code.UNKNOWN_OPERATION),
    "an operation too long": (petition("x" * 100_000), Code.UNKNOWN_OPERATION),
    "an operation with a control character": (petition("X\x1b[2J"), Code.UNKNOWN_OPERATION),
    "no data": (b'{"operation": "X1", "reply_to": "%b"}' % REPLY_TO, Code.MISSING_FIELD),
    "a number in place of a text": (adding(42), Code.WRONG_TYPE),
    "null in place of a text": (adding(None), Code.WRONG_TYPE),
    "an array in place of a text": (adding(["tonto"]), Code.WRONG_TYPE),
    "an empty insult": (adding(""), Code.MALFORMED),
    "an insult too long": (adding("x" * 201), Code.TOO_LARGE),
    "an insult far too long": (adding("x" * 100_000), Code.TOO_LARGE),
    "a control character": (adding("a\x00b"), Code.MALFORMED),
    "a line break in an insult": (adding("a\nb"), Code.MALFORMED),
    "an id too long": (adding(INSULT, id="x" * 129), Code.TOO_LARGE),
    "an id with a space": (adding(INSULT, id="one two"), Code.MALFORMED),
    "an empty id": (adding(INSULT, id=""), Code.MALFORMED),
    "a number as an id": (adding(INSULT, id=7), Code.WRONG_TYPE),
    "an object as an id": (adding(INSULT, id={}), Code.WRONG_TYPE),
    "a text in place of a number": (petition("X2", limit="ten"), Code.WRONG_TYPE),
    "a truth value in place of a number": (petition("X2", limit=True), Code.WRONG_TYPE),
    "a fraction in place of a number": (petition("X2", limit=1e308), Code.WRONG_TYPE),
    "an infinite number": (petition("X2", limit=float("inf")), Code.WRONG_TYPE),
    "a page too large": (petition("X2", limit=1001), Code.TOO_LARGE),
    "NaN in place of a number": (petition("X2", limit=float("nan")), Code.WRONG_TYPE),
    "null in place of a number": (petition("X2", limit=None), Code.WRONG_TYPE),
    "a page with a negative limit": (petition("X2", limit=-1), Code.TOO_LARGE),
    "a page with the limit 0": (petition("X2", limit=0), Code.TOO_LARGE),
    "a number as `after`": (petition("X2", after=7), Code.WRONG_TYPE),
    "an `after` that is too long": (petition("X2", after="x" * 201), Code.TOO_LARGE),
}

UNANSWERABLE: dict[str, tuple[bytes, Code]] = {
    "an empty petition": (b"", Code.MALFORMED),
    "bytes": (bytes(range(256)), Code.BAD_ENCODING),
    "a number": (b"7", Code.WRONG_TYPE),
    "nobody to reply to": (petition("X1", "a\nb"), Code.MALFORMED),
    "a reply to a list that is not for replies": (petition("X3", "insults"), Code.MALFORMED),
    "a reply to a list of another namespace": (petition("X3", "lab-00000000:reply:x"), Code.MALFORMED),
    "a number to reply to": (petition("X3", 7), Code.WRONG_TYPE),
    "a reply to a list with too long a name": (petition("X3", WHERE + "x" * 300), Code.MALFORMED),
    "a reply to a list whose name is no text": (petition("X3", WHERE + "\ud800"), Code.MALFORMED),
    "a number as the operation and nobody to reply to": (petition(7, None), Code.UNKNOWN_OPERATION),
}
