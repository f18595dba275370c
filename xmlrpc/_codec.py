"""XML-RPC requests and replies as bytes, by the standard library's marshaller; errors as Faults."""

from collections.abc import Sequence
from typing import cast
from xml.parsers.expat import ExpatError

from lab.errors import Code, InternalError, InvalidRequest, LabError, as_text, error_from_text
from lab.limits import MAX_REPLY_BYTES
from xmlrpc.client import Fault, ResponseError, dumps, loads

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
_UNMARSHAL_ERRORS = (ExpatError, ResponseError, ValueError, TypeError, KeyError, IndexError, AttributeError)


def parse_call(body: bytes) -> tuple[str, tuple[object, ...]]:
    """Read a method call; raise MALFORMED or BAD_ENCODING."""
    if b"<!" in body[:1024] or b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise InvalidRequest(Code.MALFORMED, "the request declares a document type; XML-RPC has none")
    try:
        arguments, method = loads(body)
    except UnicodeDecodeError as error:
        raise InvalidRequest(Code.BAD_ENCODING, "the request is not in the encoding it declares") from error
    except Fault as error:
        raise InvalidRequest(Code.MALFORMED, "the request is a fault, not a call") from error
    except LookupError as error:
        raise InvalidRequest(Code.BAD_ENCODING, f"the request's encoding is unknown: {error}") from error
    except _UNMARSHAL_ERRORS as error:
        code = Code.BAD_ENCODING if "not well-formed" in str(error) and not _is_utf8(body) else Code.MALFORMED
        raise InvalidRequest(code, f"the request is not XML-RPC: {error}") from error
    if not method:
        raise InvalidRequest(Code.MISSING_FIELD, "the request names no method (methodName)")
    return method, arguments


def write_answer(answer: object) -> bytes:
    """Write a method response; TOO_LARGE if it is longer than a reply may be."""
    try:
        body = dumps((answer,), methodresponse=True, allow_none=True)
    except (TypeError, OverflowError) as error:
        raise InternalError("marshal", f"the answer cannot be sent: {error}") from error
    if len(body) > 4 * MAX_REPLY_BYTES:  # escaped texts grow up to four times
        raise InvalidRequest(Code.TOO_LARGE, "the answer is too large to send; ask for fewer")
    return body.encode()


def write_fault(error: LabError) -> bytes:
    """Write *error* as a Fault whose string starts with our code."""
    return dumps(as_fault(error), methodresponse=True).encode()


def as_fault(error: LabError) -> Fault:
    """Return *error* as a Fault."""
    return Fault(FAULT_CODES[error.code], as_text(error))


def write_call(method: str, arguments: Sequence[object]) -> bytes:
    """Write a method call."""
    return dumps(tuple(arguments), method, allow_none=True).encode()


def parse_answer(body: bytes) -> object:
    """Read a method response; raise the LabError that a Fault stands for."""
    try:
        return cast(tuple[object, ...], loads(body)[0])[0]
    except Fault as error:
        raise error_from_fault(error.faultCode, error.faultString) from error
    except _UNMARSHAL_ERRORS as error:
        raise InternalError("reply", f"the node's reply is not XML-RPC: {error}") from error


def error_from_fault(code: int, text: str) -> LabError:
    """Return the LabError that a Fault stands for, also that of a foreign server."""
    return error_from_text(text) or InternalError("fault", f"fault {code}: {text}")


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
