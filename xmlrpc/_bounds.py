"""Parse XML within bounds, so that no request, however it is made, keeps the event loop for long.

A request of 1 MiB can hold a quarter of a million elements, each of which costs a call into Python.
"""

from lab.errors import Code, InvalidRequest
from lab.limits import MAX_BATCH
from xmlrpc.client import ExpatParser, Unmarshaller

MAX_ELEMENTS = 16_000
"""Elements and attributes in a request: 1,000 calls in a multicall, each with two arguments, have 15,000."""
MAX_DEPTH = 64
"""Arrays and structs inside one another; a multicall has four."""
MAX_TAG_BYTES = 64 * 1024
"""Length of one tag or comment, whose attributes come at once."""
_CALL = b"<name>methodName</name>"
"""Stands once in each call of a multicall, and nowhere else, as long as nothing is quoted with CDATA."""
_PIECE_BYTES = 16 * 1024
_CONTAINERS = frozenset(("array", "struct"))


def parse_within_bounds(unmarshaller: Unmarshaller, body: bytes) -> None:
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
    """Counts what goes by on its way to an unmarshaller."""

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
