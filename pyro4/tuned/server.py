"""The daemon that serves objects: each message gets one code, never a traceback, and harms no other client.

Replaces, of Pyro4: the greeting (``Daemon._handshake``), the answers to fast calls, and the refusals.
Why: Pyro4 closes the connection on what it cannot read, sends tracebacks, and waits for clients that say
nothing. Calls off the fast path are made by Pyro4's ``Daemon.handleRequest``. The first daemon of a process
changes Pyro4's settings (:func:`set_up`), and so those of every other daemon in the process.
"""

import contextlib
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import Pyro4
from Pyro4 import constants, errors, message, util
from Pyro4.core import current_context
from Pyro4.socketserver import threadpoolserver

from lab.errors import Code, InvalidRequest, Overloaded, as_text
from lab.limits import MAX_REQUEST_BYTES
from lab.process.node import cannot_listen
from lab.settings import settings

from . import wire
from .connection import Receiver
from .methods import InFlight, begin_message
from .nonblocking import ConnectionJob, LockedPool, NonblockingLoop

SERVER_TYPES = ("thread", "multiplex")
"""The first is the usual one: with multiplex, one silent client stalls all others."""
THREADS = 1024
"""Connections that each have a thread; Pyro4's 40 refused 60 of 100 idle clients."""
BACKLOG = 1024
LINGER_SECONDS = 2.0
"""How long a refused sender is read: if bytes are unread at the close, TCP discards our answer."""
MAX_LINGERING = 256
_RECEIVE_BYTES = 64 * 1024


@cache
def set_up() -> None:
    """Set up Pyro4 for the daemons of this process; a second call changes nothing."""
    config = Pyro4.config
    config.THREADPOOL_SIZE = THREADS
    config.THREADPOOL_SIZE_MIN = 1  # every subscriber serves, too: a thousand would keep thousands idle
    config.COMMTIMEOUT = 5.0  # without it one silent client freezes accept
    config.MAX_MESSAGE_SIZE = MAX_REQUEST_BYTES
    config.ONEWAY_THREADED = False  # a thread for each oneway call: their number would have no bound
    config.SERIALIZERS_ACCEPTED = wire.SERIALIZERS  # pickle would run the sender's code
    config.SOCK_NODELAY = True
    config.MAX_RETRIES = 0  # a repeated call needs its operation id: the caller repeats it
    config.COMPRESSION = False
    config.DETAILED_TRACEBACK = False
    message.Message.from_header = classmethod(wire.read_header)
    util.SerializerBase.deserializeCall = wire.load_call
    util.SerializerBase.deserializeData = wire.load_data
    util.SerializerBase.serializeData = wire.write_data
    util.formatTraceback = _no_traceback
    threadpoolserver.ClientConnectionJob = ConnectionJob
    threadpoolserver.Pool = LockedPool


def _no_traceback(*_: object, **__: object) -> list[str]:
    """Stand in for Pyro4's traceback, which it would send to the client."""
    return []


class ServedObjects:
    """A daemon that serves objects by their ids; *in_flight* is told of each answer that was sent."""

    def __init__(
        self,
        host: str,
        port: int,
        advertised_host: str,
        in_flight: InFlight | None = None,
        server_type: str = SERVER_TYPES[0],
    ) -> None:
        set_up()
        Pyro4.config.SERVERTYPE = server_type  # read when a daemon is made
        try:
            self.daemon = Daemon(host, port, (in_flight or InFlight()).finished)
        except OSError as error:
            raise cannot_listen(host, port, error) from error
        if advertised_host != host:  # Pyro4's own "nathost" fails with IPv6
            port = self.daemon.sock.getsockname()[1]
            named = f"[{advertised_host}]" if ":" in advertised_host else advertised_host
            self.daemon.natLocationStr = f"{named}:{port}"
        self._thread = threading.Thread(target=self.daemon.requestLoop, name="pyro4", daemon=True)

    @property
    def address(self) -> str:
        """Where others reach it: ``host:port``."""
        return str(self.daemon.natLocationStr or self.daemon.locationStr)

    def serve(self, objects: Mapping[str, object]) -> dict[str, str]:
        """Serve *objects* by their ids; return the URI of each."""
        uris = {name: str(self.daemon.register(served, name)) for name, served in objects.items()}
        self._thread.start()
        return uris

    def close(self, timeout_seconds: float) -> None:
        """Accept nothing more, and end; what takes longer than *timeout_seconds* ends with the process."""
        # Pyro4's shutdown waits up to 5 s for its loop: all the time that a process has to drain.
        end = self.daemon.shutdown if self._thread.is_alive() else self.daemon.close
        ending = threading.Thread(target=_quietly, args=(end,), name="end of pyro4", daemon=True)
        ending.start()
        ending.join(timeout_seconds)


class _Call(NamedTuple):
    """A call of the fast path to an object that is here; it takes *size* bytes."""

    size: int
    seq: int
    annotations: dict[str, bytes]
    served: Any
    method: str
    arguments: list[object]
    named: dict[str, object]

    @property
    def is_nonblocking(self) -> bool:
        """Whether it returns at once, as its object says."""
        return self.method in getattr(self.served, "_nonblocking", ())


class Daemon(Pyro4.Daemon):  # type: ignore[misc]
    """A Pyro4 daemon whose refusals are a ValueError with ``CODE: message``, without a traceback.

    *finished* is called after the answer to a message is sent, in the thread that sent it.
    """

    def __init__(self, host: str, port: int, finished: Callable[[], None]) -> None:
        self._denied: deque[tuple[float, Any]] = deque()
        self._finished = finished
        self.nonblocking = NonblockingLoop(self)
        super().__init__(host=host, port=port)
        self._pyroHmacKey = settings().pyro_key or None
        self.sock.listen(BACKLOG)  # beyond Pyro4's 200, a client waits a second for its next try

    def _handshake(self, conn: Any, denied_reason: str | None = None) -> bool:
        """Answer a client's first message; true if it may go on. Pyro4's own refusals have no code."""
        if denied_reason:
            return self._deny(conn)
        first = message.Message(message.MSG_CONNECT, b"", wire.SERPENT, 0, 0)
        conn.recv = Receiver(conn.sock, conn.sock.gettimeout())
        try:
            first = message.Message.recv(conn, [message.MSG_CONNECT], hmac_key=self._pyroHmacKey)
            kind, answer = message.MSG_CONNECTOK, self._welcome(conn, first)
            flags = first.flags & message.FLAGS_META_ON_CONNECT
        except (errors.ConnectionClosedError, errors.TimeoutError):
            return False
        except Exception as error:  # noqa: BLE001  # whatever it is, the client is told
            first = getattr(error, "pyroMsg", first)
            kind, answer, flags = message.MSG_CONNECTFAIL, str(wire.as_builtin(error)), 0
        to = first if first.serializer_id in wire.SERIALIZER_IDS else None
        self._send(conn, kind, answer, flags, to, _is_signed(first))
        if kind == message.MSG_CONNECTFAIL:
            linger(conn)
        return bool(kind == message.MSG_CONNECTOK)

    def _deny(self, conn: Any) -> bool:
        """Refuse at once: the thread that accepts must not wait for what a client may never send."""
        reason = as_text(Overloaded("every thread has a connection; close some, or try again later"))
        self._send(conn, message.MSG_CONNECTFAIL, reason, 0, None, is_signed=True)
        conn.keep_open = True  # else TCP would discard the answer at the close
        self._denied.append((time.monotonic() + LINGER_SECONDS, conn))
        if len(self._denied) > MAX_LINGERING:
            drop(self._denied.popleft()[1])
        return False

    def close(self) -> None:
        """Close, also the connections that wait for their next non-blocking call."""
        self.nonblocking.stop()
        super().close()

    def _housekeeping(self) -> None:
        """Close denied connections; Pyro4 calls this every two seconds."""
        while self._denied and self._denied[0][0] < time.monotonic():
            with suppress(IndexError):  # the thread that accepts took it
                drop(self._denied.popleft()[1])
        super()._housekeeping()

    def _send(self, conn: Any, kind: int, answer: object, flags: int, to: Any, is_signed: bool) -> None:
        """Answer the message *to* (None: an unknown one), signed as it was."""
        serializer = wire.serializer_of(to.serializer_id if to else wire.SERPENT)
        data, _ = serializer.serializeData(answer)
        key = self._pyroHmacKey if is_signed else None
        seq = to.seq if to else 0
        reply = message.Message(kind, data, serializer.serializer_id, flags, seq, self.annotations(), key)
        conn.send(reply.to_bytes())

    def handleRequest(self, conn: Any) -> None:  # noqa: N802  # Pyro4's name
        """Answer a message, and those that came with it: waiting for the socket does not show them."""
        self._answer(conn)
        while conn.recv.has_more:
            self._answer(conn)

    def _answer(self, conn: Any) -> None:
        """Answer a message; also one that Pyro4 cannot read, on which it would only close the connection."""
        conn.recv.begin()
        begin_message()
        try:
            if not self._answer_fast(conn):
                super().handleRequest(conn)
        except (errors.ConnectionClosedError, errors.TimeoutError, errors.SerializeError):
            raise  # the client is gone, or it is answered already
        except (errors.PyroError, struct.error, ValueError) as error:
            unread = getattr(error, "pyroMsg", None)
            if unread is None and isinstance(error, errors.SecurityError):
                raise  # answered already
            refusal, flags = wire.as_builtin(error), message.FLAGS_EXCEPTION
            refusal._pyroTraceback = []  # type: ignore[attr-defined]  # where clients look for it
            is_signed = not isinstance(error, errors.SecurityError) or _is_signed(unread)
            self._send(conn, message.MSG_RESULT, refusal, flags, unread, is_signed)
            linger(conn)
            raise
        finally:
            self._finished()

    def answer_nonblocking(self, conn: Any, sender: Any) -> bool:
        """Answer the fast, non-blocking call that has come, through *sender*; false: it is no such call."""
        call = self._fast_call(conn.recv.ahead(0))
        if not call or not call.is_nonblocking:
            return False
        conn.recv.begin()
        conn.recv(call.size)
        try:
            self._perform(call, sender)
        finally:
            self._finished()
        return True

    def _answer_fast(self, conn: Any) -> bool:
        """Answer a fast call to an object that is here; false: it is for Pyro4, and not yet taken."""
        call = self._fast_call(conn.recv.ahead(wire.HEADER.size))
        conn.is_nonblocking = bool(call and call.is_nonblocking)
        if not call:
            return False
        conn.recv(call.size)
        self._perform(call, conn)
        return True

    def _fast_call(self, data: bytes) -> _Call | None:
        """Return the call of the fast path, to an object that is here, with which *data* begins."""
        if self._pyroHmacKey or len(data) < wire.HEADER.size:
            return None
        call = wire.read_fast(data, message.MSG_INVOKE)
        if not call or not isinstance(call.content, list) or len(call.content) != 4:
            return None
        name, method, arguments, named = call.content
        served = self.objectsById.get(name) if isinstance(name, str) else None
        if served is None or not wire.is_call(method, arguments, named):
            return None
        return _Call(call.size, call.seq, call.annotations, served, method, arguments, named)

    def _perform(self, call: _Call, sender: Any) -> None:
        """Make *call*, and send its answer, or its error, through *sender*."""
        current_context.annotations, current_context.msg_flags = call.annotations, 0
        try:
            result = util.getAttribute(call.served, call.method)(*call.arguments, **call.named)
            answer = wire.write_answer(call.seq, result)
        except Exception as error:  # noqa: BLE001  # whatever it is, the client is told
            current_context.correlation_id, current_context.response_annotations = None, {}
            self._sendExceptionResponse(sender, call.seq, wire.MSGPACK, error, [])
        else:
            sender.send(answer)

    def _sendExceptionResponse(  # noqa: N802  # Pyro4's name
        self,
        connection: object,
        seq: int,
        serializer_id: int,
        exc_value: Exception,
        *rest: object,
        **more: object,
    ) -> None:
        understood = wire.serializer_of(serializer_id).serializer_id
        refusal = wire.as_builtin(exc_value)
        super()._sendExceptionResponse(connection, seq, understood, refusal, *rest, **more)

    def _Daemon__deserializeBlobArgs(self, received: object) -> object:  # noqa: N802  # Pyro4's, private
        """Refuse a message that stays serialized: Pyro4 would give what a stranger sent to marshal."""
        raise InvalidRequest(Code.BAD_ENCODING, "messages that stay serialized are refused; send a call")

    def _welcome(self, conn: object, first: Any) -> object:
        if first.serializer_id not in wire.SERIALIZER_IDS:
            raise errors.SerializeError(f"the message uses serializer {first.serializer_id}")
        serializer = wire.serializer_of(first.serializer_id)
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


def linger(conn: Any) -> None:
    """Send nothing more on *conn*, and read what still comes, for a while: a lingering close."""
    deadline = time.monotonic() + LINGER_SECONDS
    with suppress(OSError):
        conn.sock.shutdown(socket.SHUT_WR)
        conn.sock.settimeout(LINGER_SECONDS)
        while time.monotonic() < deadline and conn.sock.recv(_RECEIVE_BYTES):
            pass


def drop(conn: Any) -> None:
    """Read what has come on *conn*, and close it at once."""
    conn.keep_open = False
    with suppress(OSError):
        conn.sock.setblocking(False)
        conn.sock.recv(_RECEIVE_BYTES)
    conn.close()


def _is_signed(received: Any) -> bool:
    return "HMAC" in received.annotations


def _quietly(end: Callable[[], object]) -> None:
    with contextlib.suppress(OSError):
        end()
