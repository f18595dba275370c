"""Pyro4's messages, as a daemon takes them: whatever comes gets one code, and never a traceback."""

import re
import socket
import struct
import time
from contextlib import suppress
from typing import Any

import Pyro4
from Pyro4 import constants, errors, message, util

from lab.errors import Code, InvalidRequest, LabError, Overloaded, as_text

from . import _settings as _settings

LINGER_SECONDS = 2.0
"""A refused sender is heard out this long: if bytes are unread at the close, TCP takes our answer back."""
SERPENT = util.SerpentSerializer.serializer_id
"""What every Pyro4 reads: the answer to a client whose own serializer is not known, or refused."""
_RECEIVE_BYTES = 64 * 1024
_INSIDE = re.compile("<[^>]*>")


class Daemon(Pyro4.Daemon):  # type: ignore[misc]
    """A Pyro4 daemon whose refusals are a ValueError with ``CODE: message``, without a traceback."""

    def _handshake(self, conn: Any, denied_reason: str | None = None) -> bool:
        """Answer a client's first message; true if it may go on. Pyro4's own refusals have no code."""
        first = message.Message(message.MSG_CONNECT, b"", SERPENT, 0, 0)
        try:
            first = message.Message.recv(conn, [message.MSG_CONNECT])
            if denied_reason:
                raise Overloaded(denied_reason)
            kind, answer = message.MSG_CONNECTOK, self._welcome(conn, first)
            flags = first.flags & message.FLAGS_META_ON_CONNECT
        except (errors.ConnectionClosedError, errors.TimeoutError):
            return False
        except Exception as error:  # noqa: BLE001  # whatever it is, the client is told
            first = getattr(error, "pyroMsg", first)
            kind, answer, flags = message.MSG_CONNECTFAIL, str(as_builtin(error)), 0
        is_understood = first.serializer_id in _settings.SERIALIZER_IDS
        serializer = _serializer(first.serializer_id if is_understood else SERPENT)
        data, _ = serializer.serializeData(answer)
        reply = message.Message(kind, data, serializer.serializer_id, flags, first.seq, self.annotations())
        conn.send(reply.to_bytes())
        if kind == message.MSG_CONNECTFAIL and not denied_reason:  # denied by the thread that accepts
            _hear_out(conn)
        return bool(kind == message.MSG_CONNECTOK)

    def handleRequest(self, conn: Any) -> None:  # noqa: N802  # Pyro4's name
        """Answer a message; also one that Pyro4 cannot read, on which it would only close the connection."""
        try:
            super().handleRequest(conn)
        except (errors.ConnectionClosedError, errors.TimeoutError, errors.SerializeError):
            raise  # nobody is there, or it is answered already
        except (errors.PyroError, struct.error, ValueError) as error:
            unread = getattr(error, "pyroMsg", None)
            if unread is None and isinstance(error, errors.SecurityError):
                raise  # answered already
            seq, serializer_id = (unread.seq, unread.serializer_id) if unread else (0, SERPENT)
            self._sendExceptionResponse(conn, seq, serializer_id, error, [])
            _hear_out(conn)
            raise

    def _sendExceptionResponse(  # noqa: N802  # Pyro4's name
        self,
        connection: object,
        seq: int,
        serializer_id: int,
        exc_value: Exception,
        *rest: object,
        **more: object,
    ) -> None:
        understood = _serializer(serializer_id).serializer_id
        super()._sendExceptionResponse(connection, seq, understood, as_builtin(exc_value), *rest, **more)

    def _Daemon__deserializeBlobArgs(self, received: object) -> object:  # noqa: N802  # Pyro4's, private
        """Refuse a message that stays serialized: Pyro4 would give what a stranger sent to marshal."""
        raise InvalidRequest(Code.BAD_ENCODING, "messages that stay serialized are refused; send a call")

    def _welcome(self, conn: object, first: Any) -> object:
        if first.serializer_id not in _settings.SERIALIZER_IDS:
            raise errors.SerializeError(f"the message uses serializer {first.serializer_id}")
        serializer = _serializer(first.serializer_id)
        _settings.check_structure(serializer, first.data)
        data = serializer.deserializeData(first.data, first.flags & message.FLAGS_COMPRESSED)
        if not isinstance(data, dict) or "handshake" not in data:
            raise InvalidRequest(
                Code.MISSING_FIELD, "a connection begins with {'handshake': ..., 'object': ...}"
            )
        greeting = self.validateHandshake(conn, data["handshake"])
        if not first.flags & message.FLAGS_META_ON_CONNECT:
            return greeting
        if not isinstance(data.get("object"), str):
            raise InvalidRequest(Code.MISSING_FIELD, "the connection names no object")
        described = self.objectsById[constants.DAEMON_NAME].get_metadata(data["object"], as_lists=True)
        return {"handshake": greeting, "meta": described}


def as_builtin(error: Exception) -> Exception:
    """Return *error* as one that a proxy without our code can read."""
    if isinstance(error, LabError):
        return ValueError(as_text(error))
    said = str(error)
    if said.partition(": ")[0] in Code.__members__:
        return error if type(error) is ValueError else ValueError(said)
    reason = _INSIDE.sub("...", said)[:100].encode("unicode_escape").decode()
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


def _serializer(serializer_id: int) -> Any:
    """Return the serializer in which to answer: the client's; serpent if there is no such thing."""
    try:
        return util.get_serializer_by_id(serializer_id)
    except errors.PyroError:
        return util.get_serializer_by_id(SERPENT)


def _hear_out(conn: Any) -> None:
    deadline = time.monotonic() + LINGER_SECONDS
    with suppress(OSError):
        conn.sock.shutdown(socket.SHUT_WR)
        conn.sock.settimeout(LINGER_SECONDS)
        while time.monotonic() < deadline and conn.sock.recv(_RECEIVE_BYTES):
            pass
