"""What a client is told when Pyro4, or we, refuse a message: our code, and a class that any proxy knows; and
how its connection is closed so that it can read that."""

import re
import socket
import time
from contextlib import suppress
from typing import Any

from Pyro4 import errors

from lab.errors import Code, LabError, as_text

NOT_SIGNED = "the message is not signed with the key of this system; both sides need the same LAB_PYRO_KEY"
LINGER_SECONDS = 2.0
"""A refused sender is heard out this long: if bytes are unread at the close, TCP takes our answer back."""
_RECEIVE_BYTES = 64 * 1024
_INSIDE = re.compile("<[^>]*>")


def as_builtin(error: Exception) -> Exception:
    """Return *error* as one that a proxy without our code can read."""
    if isinstance(error, LabError):
        return ValueError(as_text(error))
    said = str(error)
    if said.partition(": ")[0] in Code.__members__:
        return error if type(error) is ValueError else ValueError(said)
    reason = _INSIDE.sub("...", said)[:100].encode("unicode_escape").decode()
    if isinstance(error, errors.SecurityError):
        return ValueError(f"{Code.MALFORMED}: {NOT_SIGNED}")
    if isinstance(error, errors.NamingError):  # which Pyro4's own clients expect
        named: Exception = errors.NamingError(f"{Code.NOT_FOUND}: {reason}")
        return named
    if isinstance(error, AttributeError):
        return ValueError(f"{Code.UNKNOWN_OPERATION}: no such method: {reason}")
    if isinstance(error, errors.DaemonError):
        return ValueError(f"{Code.NOT_FOUND}: {reason}")
    if isinstance(error, errors.SerializeError):
        return ValueError(f"{Code.BAD_ENCODING}: {reason}; serpent and msgpack are understood")
    if isinstance(error, UnicodeError):
        return ValueError(f"{Code.BAD_ENCODING}: the request is not UTF-8: {reason}")
    if isinstance(error, (RecursionError, MemoryError)) or not reason:  # msgpack's StackError says nothing
        return ValueError(f"{Code.MALFORMED}: the request is nested too deeply")
    return ValueError(f"{Code.MALFORMED}: the request cannot be read: {type(error).__name__}: {reason}")


def hear_out(conn: Any) -> None:
    """Send nothing more on *conn*, and take what still comes, for a while."""
    deadline = time.monotonic() + LINGER_SECONDS
    with suppress(OSError):
        conn.sock.shutdown(socket.SHUT_WR)
        conn.sock.settimeout(LINGER_SECONDS)
        while time.monotonic() < deadline and conn.sock.recv(_RECEIVE_BYTES):
            pass


def drop(conn: Any) -> None:
    """Close *conn*, with what has come taken, at once."""
    conn.keep_open = False
    with suppress(OSError):
        conn.sock.setblocking(False)
        conn.sock.recv(_RECEIVE_BYTES)
    conn.close()
