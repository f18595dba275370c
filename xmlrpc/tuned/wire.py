"""XML-RPC requests and replies as bytes, and errors as Faults.

Replaces ``xmlrpc.client.dumps`` and ``loads``; the standard marshaller and unmarshaller still do the work.
A call or an answer of plain texts, which is nearly all of the traffic, takes a fast path: a regular
expression in place of an XML parser, at a tenth of the cost (a call of ``filter``: 2 us, by ``loads`` 22 us).
Anything else is parsed, within bounds: no request may keep the event loop for long, and one of 1 MiB can hold
a quarter of a million elements, each of which costs a call into Python.

XML cannot carry every text: a carriage return is escaped (a parser would turn it into a line feed), and a
text with other control characters travels as base64 of its UTF-8.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, cast
from xml.parsers.expat import ExpatError

from lab.errors import Code, InternalError, InvalidRequest, LabError, as_text, error_from_text
from lab.limits import MAX_BATCH, MAX_REPLY_BYTES
from xmlrpc.client import ExpatParser, Fault, Marshaller, ResponseError, Unmarshaller

# The codes of "Specification for Fault Code Interoperability" (2001) where it has one; ours are positive.
FAULT_CODES = {
    Code.MALFORMED: -32700,
    Code.BAD_ENCODING: -32702,
    Code.UNKNOWN_OPERATION: -32601,
    Code.MISSING_FIELD: -32602,
    Code.WRONG_TYPE: -32602,
    Code.TOO_LARGE: -32600,
    Code.INTERNAL_ERROR: -32603,
    Code.NO_INSULTS: 1,
    Code.NOT_FOUND: 2,
    Code.OVERLOADED: 3,
    Code.UNAVAILABLE: 4,
    Code.DEADLINE_EXCEEDED: 5,
}
MAX_ANSWER_CHARACTERS = 4 * MAX_REPLY_BYTES
"""Room for the escapes of a reply of 512 KiB."""
MAX_ELEMENTS = 16_000
"""Elements and attributes in a request: 1,000 calls in a multicall, each with two arguments, have 15,000."""
MAX_DEPTH = 64
"""Arrays and structs inside one another; a multicall has four."""
MAX_TAG_BYTES = 64 * 1024
"""Length of one tag or comment: the parser gives all its attributes at once."""
_CALL = b"<name>methodName</name>"
"""Is once in each call of a multicall, and nowhere else, if nothing is quoted with CDATA."""
_PIECE_BYTES = 16 * 1024
_CONTAINERS = frozenset(("array", "struct"))

_HEAD = "<?xml version='1.0'?>\n"
_TEXT = r"<param>\n<value><string>([^<&\x00-\x1f\x7f]*)</string></value>\n</param>\n"
_FAST_CALL = re.compile(
    re.escape(_HEAD)
    + rf"<methodCall>\n<methodName>([\w.]+)</methodName>\n<params>\n((?:{_TEXT})?)</params>\n</methodCall>\n"
)
_PLAIN_ANSWER = re.compile(
    re.escape(_HEAD) + rf"<methodResponse>\n<params>\n{_TEXT}</params>\n</methodResponse>\n"
)
_SPECIAL = re.compile("[&<>\x00-\x1f\x7f\ufffe\uffff]")
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_UNMARSHAL_ERRORS = (
    ExpatError,
    ResponseError,
    ValueError,
    ArithmeticError,
    TypeError,
    LookupError,
    AttributeError,
)


def parse_call(body: bytes) -> tuple[str, tuple[object, ...]]:
    """Read a method call; raise MALFORMED, MISSING_FIELD or BAD_ENCODING."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = ""  # perhaps another encoding, declared: the parser knows
    plain = _FAST_CALL.fullmatch(text)
    if plain:
        return plain[1], (plain[3],) if plain[2] else ()
    return _parse_any_call(body, is_utf8=bool(text))


def _parse_any_call(body: bytes, is_utf8: bool) -> tuple[str, tuple[object, ...]]:
    try:
        method, arguments = _unmarshal(body)
    except Fault as error:
        raise InvalidRequest(Code.MALFORMED, "the request is a fault, not a call") from error
    except RecursionError as error:
        raise InvalidRequest(Code.MALFORMED, "the request is nested too deeply") from error
    except _UNMARSHAL_ERRORS as error:
        reason = "its parts do not fit" if isinstance(error, ResponseError) else str(error)[:100]
        if isinstance(error, LookupError) and "encoding" in reason:
            raise InvalidRequest(Code.BAD_ENCODING, f"the request cannot be read: {reason}") from error
        if body and not is_utf8:
            raise InvalidRequest(
                Code.BAD_ENCODING, f"the request is not in its encoding: {reason}"
            ) from error
        raise InvalidRequest(Code.MALFORMED, f"the request is not XML-RPC: {reason}") from error
    if not method:
        raise InvalidRequest(Code.MISSING_FIELD, "the request names no method (methodName)")
    return method, arguments


def _unmarshal(body: bytes) -> tuple[str | None, tuple[object, ...]]:
    """Do what ``xmlrpc.client.loads`` does, within bounds."""
    unmarshaller = Unmarshaller(use_builtin_types=True)
    _parse_within_bounds(unmarshaller, body)
    arguments = tuple(_as_text(argument) for argument in unmarshaller.close())
    return unmarshaller.getmethodname(), arguments


def write_answer(answer: object) -> bytes:
    """Write a method response; TOO_LARGE if it is longer than a reply may be."""
    params = _params((answer,))
    if len(params) > MAX_ANSWER_CHARACTERS:
        raise InvalidRequest(Code.TOO_LARGE, "the answer is too large to send; ask for fewer")
    return f"{_HEAD}<methodResponse>\n{params}</methodResponse>\n".encode()


def write_fault(error: LabError) -> bytes:
    """Write *error* as a Fault whose string starts with our code."""
    return f"{_HEAD}<methodResponse>\n{_marshal(as_fault(error))}</methodResponse>\n".encode()


def as_fault(error: LabError) -> Fault:
    """Return *error* as a Fault."""
    return Fault(FAULT_CODES[error.code], as_text(error))


def write_call(method: str, arguments: Sequence[object]) -> bytes:
    """Write a method call."""
    params = _params(tuple(arguments))
    return f"{_HEAD}<methodCall>\n<methodName>{method}</methodName>\n{params}</methodCall>\n".encode()


def parse_answer(body: bytes) -> object:
    """Read a method response; raise the LabError that a Fault stands for."""
    try:
        plain = _PLAIN_ANSWER.fullmatch(body.decode())
        if plain:
            return plain[1]
        return _unmarshal(body)[1][0]
    except Fault as error:
        raise error_from_fault(error.faultCode, str(error.faultString)) from error
    except (*_UNMARSHAL_ERRORS, RecursionError, InvalidRequest) as error:
        raise InternalError("reply", f"the node's reply is not XML-RPC: {error}") from error


def error_from_fault(code: int, text: str) -> LabError:
    """Return the LabError that a Fault stands for, also that of a foreign server."""
    return error_from_text(text) or InternalError("fault", f"fault {code}: {text}")


class _TextSafeMarshaller(Marshaller):
    """Writes every text so that the other side reads the same text."""

    def dump_text(self, value: str, write: Callable[[str], object]) -> None:
        if not _SPECIAL.search(value):
            write(f"<value><string>{value}</string></value>\n")
        elif _NOT_XML.search(value):
            self.dispatch[bytes](self, value.encode(), write)
        else:
            escaped = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            write(f"<value><string>{escaped.replace(chr(13), '&#13;')}</string></value>\n")

    dispatch: dict[Any, Any] = {**Marshaller.dispatch, str: dump_text}  # noqa: RUF012


def _params(values: tuple[object, ...]) -> str:
    """Return *values* as parameters; none, or one plain text, without the marshaller."""
    if not values:
        return "<params>\n</params>\n"
    (first, *more) = values
    if type(first) is str and not more and not _SPECIAL.search(first):
        return f"<params>\n<param>\n<value><string>{first}</string></value>\n</param>\n</params>\n"
    return _marshal(values)


def _marshal(values: tuple[object, ...] | Fault) -> str:
    try:
        return _TextSafeMarshaller("utf-8", True).dumps(cast(Any, values))
    except (TypeError, OverflowError) as error:
        raise InternalError("marshal", f"a value cannot be sent: {error}") from error


def _as_text(value: object) -> object:
    """Return *value* with every base64 in it read as UTF-8."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(Code.BAD_ENCODING, "base64 must hold UTF-8 here") from error
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_text(item) for key, item in value.items()}
    return value


def _parse_within_bounds(unmarshaller: Unmarshaller, body: bytes) -> None:
    """Feed *body* to *unmarshaller*; TOO_LARGE beyond a bound, MALFORMED for nesting or a document type."""
    if body.count(_CALL) > MAX_BATCH and b"CDATA" not in body:  # it would be read for milliseconds
        raise InvalidRequest(Code.TOO_LARGE, f"more than {MAX_BATCH} calls in one multicall; send fewer")
    parser = ExpatParser(unmarshaller)
    expat = parser._parser  # type: ignore[attr-defined]
    bounds = _Bounds(unmarshaller)
    expat.buffer_text = True  # else each line break is a call
    expat.StartDoctypeDeclHandler = _refuse_document_type
    expat.StartElementHandler = bounds.start
    expat.EndElementHandler = bounds.end
    for start in range(0, len(body), _PIECE_BYTES):
        parser.feed(body[start : start + _PIECE_BYTES])
        if start - expat.CurrentByteIndex > MAX_TAG_BYTES:
            raise InvalidRequest(Code.TOO_LARGE, f"a tag has more than {MAX_TAG_BYTES} bytes")
    parser.close()


class _Bounds:
    """Counts elements and levels on their way to an unmarshaller."""

    def __init__(self, unmarshaller: Unmarshaller) -> None:
        self._start = unmarshaller.start
        self._end = unmarshaller.end
        self._left = MAX_ELEMENTS
        self._depth = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._left -= 1 + len(attributes)
        if self._left < 0:
            message = f"the request has more than {MAX_ELEMENTS} elements; send it in parts"
            raise InvalidRequest(Code.TOO_LARGE, message)
        if tag in _CONTAINERS:
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise InvalidRequest(
                    Code.MALFORMED, f"the request is nested too deeply; at most {MAX_DEPTH} levels"
                )
        self._start(tag, attributes)

    def end(self, tag: str) -> None:
        if tag in _CONTAINERS:
            self._depth -= 1
        self._end(tag)


def _refuse_document_type(*_: object) -> None:
    raise InvalidRequest(Code.MALFORMED, "the request declares a document type; XML-RPC has none")
