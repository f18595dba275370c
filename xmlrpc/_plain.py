"""HTTP messages just as our own two sides write them, there whole: read at once (decision 4).

A parser calls back for every header. It would read these, too, and reads all that is not exactly so.
"""

import re
from typing import NamedTuple

_REQUEST = re.compile(
    rb"POST / HTTP/1\.1\r\nHost: [\w.:\[\]-]{1,255}\r\nContent-Type: text/xml\r\n"
    rb"(?:Idempotency-Key: ([\w-]{1,128})\r\n)?Content-Length: (\d{1,6})\r\n\r\n"
)
_REPLY = re.compile(rb"HTTP/1\.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: (\d{1,7})\r\n\r\n")


class Request(NamedTuple):
    """A whole request."""

    body: bytes
    operation_id: str
    keep_alive: bool
    is_old: bool = False
    """It came in HTTP/1.0."""


def plain_request(data: bytes) -> Request | None:
    """Return the request that *data* is; none: it is not plain, or not one whole request."""
    head = _REQUEST.match(data)
    if not head or len(data) != head.end() + int(head[2]):
        return None
    return Request(data[head.end() :], (head[1] or b"").decode(), keep_alive=True)


def plain_reply(data: bytes) -> bytes | None:
    """Return the body of the reply that *data* is; none: it is not plain, or not one whole reply."""
    head = _REPLY.match(data)
    return data[head.end() :] if head and len(data) == head.end() + int(head[1]) else None
