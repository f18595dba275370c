"""Pyro4's messages, as a daemon takes them: whatever comes gets one code, and never a traceback."""

import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import Pyro4
from Pyro4 import constants, errors, message, util
from Pyro4.core import current_context

from lab.errors import Code, InvalidRequest, Overloaded, as_text
from lab.settings import settings

from . import _plain, _settings
from ._connection import OPERATION_ID
from ._instant import InstantLoop
from ._receive import TimelyReceiver
from ._refusals import LINGER_SECONDS, as_builtin, drop, hear_out

MAX_LINGERING = 256
BACKLOG = 1024
SERPENT = util.SerpentSerializer.serializer_id
"""What every Pyro4 reads: the answer to a client whose own serializer is not known, or refused."""
_MSGPACK = util.get_serializer("msgpack")


class _Message(threading.local):
    """The message that a thread answers just now."""

    calls_begun = 0
    """Of a batch."""


_message = _Message()


def operation_id() -> str:
    """Return the operation id of the call that this thread begins to make; empty: it has none.

    Each call of a batch has an id of its own, ``KEY/INDEX``: with one for all, they would have one effect.
    """
    sent = bytes(current_context.annotations.get(OPERATION_ID, b"")).decode("latin-1")
    if not current_context.msg_flags & message.FLAGS_BATCH:
        return sent
    index, _message.calls_begun = _message.calls_begun, _message.calls_begun + 1
    return f"{sent}/{index}" if sent else ""


class _Call(NamedTuple):
    """A plain call to an object that is here; it takes *size* bytes."""

    size: int
    seq: int
    annotations: dict[str, bytes]
    served: Any
    method: str
    arguments: list[object]
    named: dict[str, object]

    @property
    def is_instant(self) -> bool:
        """Whether it returns at once, as its object says."""
        return self.method in getattr(self.served, "_instant", ())


class Daemon(Pyro4.Daemon):  # type: ignore[misc]
    """A Pyro4 daemon whose refusals are a ValueError with ``CODE: message``, without a traceback.

    *finished* is called when a message is dealt with and its answer sent, in the thread that did so.
    """

    def __init__(self, host: str, port: int, finished: Callable[[], None], **named: Any) -> None:
        self._denied: deque[tuple[float, Any]] = deque()
        self._finished = finished
        self.instant = InstantLoop(self)
        super().__init__(host=host, port=port, **named)
        self._pyroHmacKey = settings().pyro_key or None
        self.sock.listen(BACKLOG)  # beyond Pyro4's 200, a client waits a second for its next try

    def _handshake(self, conn: Any, denied_reason: str | None = None) -> bool:
        """Answer a client's first message; true if it may go on. Pyro4's own refusals have no code."""
        if denied_reason:
            return self._deny(conn)
        first = message.Message(message.MSG_CONNECT, b"", SERPENT, 0, 0)
        conn.recv = TimelyReceiver(conn.sock, conn.sock.gettimeout())
        try:
            first = message.Message.recv(conn, [message.MSG_CONNECT], hmac_key=self._pyroHmacKey)
            kind, answer = message.MSG_CONNECTOK, self._welcome(conn, first)
            flags = first.flags & message.FLAGS_META_ON_CONNECT
        except (errors.ConnectionClosedError, errors.TimeoutError):
            return False
        except Exception as error:  # noqa: BLE001  # whatever it is, the client is told
            first = getattr(error, "pyroMsg", first)
            kind, answer, flags = message.MSG_CONNECTFAIL, str(as_builtin(error)), 0
        to = first if first.serializer_id in _settings.SERIALIZER_IDS else None
        self._send(conn, kind, answer, flags, to, _is_signed(first))
        if kind == message.MSG_CONNECTFAIL:
            hear_out(conn)
        return bool(kind == message.MSG_CONNECTOK)

    def _deny(self, conn: Any) -> bool:
        """Refuse at once: the thread that accepts must not wait for what a client may never send."""
        reason = as_text(Overloaded("every thread has a connection; close some, or try again later"))
        self._send(conn, message.MSG_CONNECTFAIL, reason, 0, None, is_signed=True)
        conn.keep_open = True  # or closing it would take the answer back
        self._denied.append((time.monotonic() + LINGER_SECONDS, conn))
        if len(self._denied) > MAX_LINGERING:
            drop(self._denied.popleft()[1])
        return False

    def close(self) -> None:
        """Close, also the connections that wait for their next instant call."""
        self.instant.stop()
        super().close()

    def _housekeeping(self) -> None:
        """Close denied connections; Pyro4 calls this every two seconds."""
        while self._denied and self._denied[0][0] < time.monotonic():
            with suppress(IndexError):  # the thread that accepts took it
                drop(self._denied.popleft()[1])
        super()._housekeeping()

    def _send(self, conn: Any, kind: int, answer: object, flags: int, to: Any, is_signed: bool) -> None:
        """Answer the message *to* (none: an unknown one), signed as it was."""
        serializer = _serializer(to.serializer_id if to else SERPENT)
        data, _ = serializer.serializeData(answer)
        key = self._pyroHmacKey if is_signed else None
        seq = to.seq if to else 0
        reply = message.Message(kind, data, serializer.serializer_id, flags, seq, self.annotations(), key)
        conn.send(reply.to_bytes())

    def handleRequest(self, conn: Any) -> None:  # noqa: N802  # Pyro4's name
        """Answer a message, and those that came with it: who waits for the socket does not see them."""
        self._answer(conn)
        while conn.recv.has_more:
            self._answer(conn)

    def _answer(self, conn: Any) -> None:
        """Answer a message; also one that Pyro4 cannot read, on which it would only close the connection."""
        conn.recv.begin()
        _message.calls_begun = 0
        try:
            if not self._answer_plainly(conn):
                super().handleRequest(conn)
        except (errors.ConnectionClosedError, errors.TimeoutError, errors.SerializeError):
            raise  # nobody is there, or it is answered already
        except (errors.PyroError, struct.error, ValueError) as error:
            unread = getattr(error, "pyroMsg", None)
            if unread is None and isinstance(error, errors.SecurityError):
                raise  # answered already
            refusal, flags = as_builtin(error), message.FLAGS_EXCEPTION
            refusal._pyroTraceback = []  # type: ignore[attr-defined]  # where clients look for it
            is_signed = not isinstance(error, errors.SecurityError) or _is_signed(unread)
            self._send(conn, message.MSG_RESULT, refusal, flags, unread, is_signed)
            hear_out(conn)
            raise
        finally:
            self._finished()

    def answer_instantly(self, conn: Any, sender: Any) -> bool:
        """Answer the plain, instant call that has come, through *sender*; false: it is no such call."""
        call = self._plain_call(conn.recv.ahead(0))
        if not call or not call.is_instant:
            return False
        conn.recv.begin()
        conn.recv(call.size)
        try:
            self._perform(call, sender)
        finally:
            self._finished()
        return True

    def _answer_plainly(self, conn: Any) -> bool:
        """Answer a plain call to an object that is here; false: it is for Pyro4, and not yet taken."""
        call = self._plain_call(conn.recv.ahead(_plain.HEADER.size))
        conn.is_instant = bool(call and call.is_instant)
        if not call:
            return False
        conn.recv(call.size)
        self._perform(call, conn)
        return True

    def _plain_call(self, data: bytes) -> _Call | None:
        """Return the plain call to an object that is here with which *data* begins."""
        if self._pyroHmacKey or len(data) < _plain.HEADER.size:
            return None
        call = _plain.read(data, message.MSG_INVOKE)
        if not call or not isinstance(call.content, list) or len(call.content) != 4:
            return None
        name, method, arguments, named = call.content
        served = self.objectsById.get(name) if isinstance(name, str) else None
        if served is None or not _settings.is_call(method, arguments, named):
            return None
        return _Call(call.size, call.seq, call.annotations, served, method, arguments, named)

    def _perform(self, call: _Call, sender: Any) -> None:
        """Make *call*, and send its answer, or its error, through *sender*."""
        current_context.annotations, current_context.msg_flags = call.annotations, 0
        try:
            result = util.getAttribute(call.served, call.method)(*call.arguments, **call.named)
            content, _ = _MSGPACK.serializeData(result)
        except Exception as error:  # noqa: BLE001  # whatever it is, the client is told
            current_context.correlation_id, current_context.response_annotations = None, {}
            self._sendExceptionResponse(sender, call.seq, _plain.MSGPACK, error, [])
        else:
            sender.send(_plain.write(message.MSG_RESULT, call.seq, content, {}))

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


def _serializer(serializer_id: int) -> Any:
    """Return the serializer in which to answer: the client's; serpent if there is no such thing."""
    try:
        return util.get_serializer_by_id(serializer_id)
    except errors.PyroError:
        return util.get_serializer_by_id(SERPENT)


def _is_signed(received: Any) -> bool:
    return "HMAC" in received.annotations
