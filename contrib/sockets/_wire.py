"""A frame: four bytes of length, then JSON. A request is ``{"op", "args", "id"}``, or a list of such.

An answer is ``{"ok": value}`` or ``{"error": code, "message": text}``; to a list, a list of them.
"""

import json
import socket
import struct
from urllib.parse import urlsplit

from lab.applications.callbacks import SubscriberUri
from lab.errors import Code, InvalidRequest, LabError, error_from
from lab.limits import MAX_REQUEST_BYTES

MAX_ANSWER_BYTES = 8 * MAX_REQUEST_BYTES
"""Escaped, and censored, what was asked for is longer than the request."""
_LENGTH = struct.Struct(">I")
_RECEIVE_BYTES = 256 * 1024


def write_frame(value: object) -> bytes:
    """Return *value* as it stands on the wire."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body)) + body


def read_length(head: bytes, most: int) -> int:
    """Return how long the body behind *head* is; TOO_LARGE above *most* bytes."""
    length: int = _LENGTH.unpack(head)[0]
    if length > most:
        raise InvalidRequest(Code.TOO_LARGE, f"a frame of {length} bytes is longer than {most}; send less")
    return length


def read_body(body: bytes) -> object:
    """Return the value that *body* is; MALFORMED or BAD_ENCODING if it is none."""
    try:
        return json.loads(body.decode())
    except UnicodeDecodeError as error:
        raise InvalidRequest(Code.BAD_ENCODING, f"the frame is not UTF-8: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(Code.MALFORMED, f"the frame is not JSON: {error}") from error


def receive(connection: socket.socket, length: int) -> bytes:
    """Return *length* bytes; ConnectionResetError if the other side closes before."""
    received = bytearray()
    while len(received) < length:
        part = connection.recv(min(length - len(received), _RECEIVE_BYTES))
        if not part:
            raise ConnectionResetError("closed by the other side")
        received += part
    return bytes(received)


def write_error(error: LabError) -> dict[str, object]:
    """Return *error* as an answer."""
    return {"error": error.code, "message": error.message}


def read_answer(answer: object) -> object:
    """Return the value of *answer*; raise the LabError that it is."""
    if isinstance(answer, dict) and "ok" in answer:
        return answer["ok"]
    if isinstance(answer, dict) and "error" in answer:
        raise error_from(str(answer["error"]), str(answer.get("message", "")))
    raise InvalidRequest(Code.MALFORMED, f"neither a value nor an error: {type(answer).__name__}")


def split_uri(uri: str) -> SubscriberUri:
    """Take ``tcp://HOST:PORT`` apart."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidRequest(Code.MALFORMED, f"{uri!r} is not tcp://HOST:PORT: {error}") from error
    if parts.scheme != "tcp" or not host or not port:
        raise InvalidRequest(Code.MALFORMED, f"{uri!r} is not tcp://HOST:PORT")
    return SubscriberUri("tcp://", host, f":{port}")
