"""A client's connection to one object: a time limit for each call, operation ids, the lab's errors.

Replaces, of Pyro4: ``Proxy._pyroInvoke`` for msgpack messages that are not signed, and the receiving.
Why: one call of ``insult_me`` runs 40 functions of Pyro4; here it is one write and one read. Pyro4 limits
only silence, so a message that comes a byte every four seconds keeps a thread for weeks; here a whole message
has a time limit. ``python3 -m lab bench --only pyro4`` measures the gain. Connecting, other serializers,
signed messages and batches are Pyro4's own.
"""

import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import Pyro4
from Pyro4 import errors, message, util
from Pyro4.core import current_context

from lab.client.connection import CallGuard, hundredths, limit
from lab.client.retry import PROBE_SECONDS
from lab.errors import (
    Code,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    LabError,
    NotFound,
    Overloaded,
    Unavailable,
    error_from_text,
)
from lab.limits import MAX_REQUEST_BYTES
from lab.settings import settings

from . import wire

FOREIGN_SERIALIZER = "serpent"
"""What objects of Pyro4 as it comes can read: its own name server, a user's subscriber."""
MESSAGE_SECONDS = 10.0
"""A message must be complete this long after its first byte."""
_RECEIVE_BYTES = 16 * 1024
_ANY_REMOTE_ERROR = Exception
"""Any class may come from the other side as a remote error."""


class PyroConnection:
    """A connection to the object at *uri*. It opens with the first call. Threads take turns.

    *serializer*: one that the other side reads; None: ours. Pyro4's own objects read serpent, not msgpack.
    """

    def __init__(self, uri: str, serializer: str | None = None) -> None:
        try:
            self._proxy = Pyro4.Proxy(uri)
        except errors.PyroError as error:
            said = f"{uri!r} is not a Pyro URI like PYRO:object@host:port"
            raise InvalidRequest(Code.MALFORMED, said) from error
        if self._proxy._pyroUri.sockname:
            raise InvalidRequest(Code.MALFORMED, f"{uri!r} is a path; give PYRO:object@host:port")
        self._proxy._pyroSerializer = serializer or settings().pyro_serializer
        self._proxy._pyroHmacKey = settings().pyro_key or None
        self._is_fast = self._proxy._pyroSerializer == "msgpack" and not self._proxy._pyroHmacKey
        self.uri = uri
        self._guard = CallGuard(self._proxy._pyroRelease, self._abandon)

    def call(
        self, method: str, arguments: Sequence[object], timeout_seconds: float, operation_id: str = ""
    ) -> object:
        """Call *method*; raise the LabError it stands for, Unavailable, or DeadlineExceeded."""
        annotations = wire.annotations_of(operation_id) if operation_id else {}
        invoke = self._invoke_fast if self._is_fast else self._invoke
        return self._guarded(invoke, timeout_seconds, method, arguments, annotations)

    def batch(self, method: str, texts: Sequence[str], timeout_seconds: float) -> list[str]:
        """Call *method* with each of *texts* in one message; raise the first LabError among the answers."""
        return cast(list[str], self._guarded(self._invoke_batch, timeout_seconds, method, texts))

    def ping(self, timeout_seconds: float) -> None:
        """Connect again; raise Unavailable or DeadlineExceeded if that fails."""
        self.close()
        self._guarded(self._connect, timeout_seconds)

    def is_lost(self) -> bool:
        """Tell, without asking the other side, whether the connection is closed or was never opened."""
        connection = self._proxy._pyroConnection
        if connection is None:
            return True
        # Polled first: with a time limit Python would wait for a byte, whatever flags a receive is given.
        look = select.poll()
        look.register(connection.sock, select.POLLIN)
        if not look.poll(0):
            return False  # it is silent, as it should be between two calls
        try:
            return not connection.sock.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        self._guard.close()

    def _abandon(self) -> None:
        """Close a forked process's copy of the connection; Pyro4 would end it for both processes."""
        connection, self._proxy._pyroConnection = self._proxy._pyroConnection, None
        if connection is not None:
            connection.sock.close()

    def _guarded(self, invoke: Callable[..., object], timeout_seconds: float, *arguments: object) -> object:
        answer = self._guard.call(timeout_seconds, self._answer, invoke, timeout_seconds, *arguments)
        if isinstance(answer, LabError):
            raise answer
        return answer

    def _answer(self, invoke: Callable[..., object], timeout_seconds: float, *arguments: object) -> object:
        """Return what *invoke* returns, or the error that it raises if that is the reply itself.

        Call again, once, if a connection that was open turns out closed: the server drops idle ones.
        """
        reused = self._proxy._pyroConnection is not None
        while True:
            try:
                return invoke(timeout_seconds, *arguments)
            except _ANY_REMOTE_ERROR as error:
                failure = self._lab_error(error)
                failure.__cause__ = error if failure is not error else error.__cause__
            if isinstance(failure, Unavailable) and reused:
                self._proxy._pyroRelease()
                reused = False
            elif isinstance(failure, (Unavailable, DeadlineExceeded)):
                raise failure
            else:
                return failure

    def _connect(self, timeout_seconds: float) -> None:
        """Connect unless that is done, and let Pyro4's own calls take *timeout_seconds*."""
        self._proxy._pyroTimeout = timeout_seconds
        if self._proxy._pyroConnection is None:
            self._proxy._pyroBind()
            # By a setting, Pyro4 would do this for all proxies of the process.
            sock = cast(Any, self._proxy._pyroConnection).sock
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _invoke(
        self, timeout_seconds: float, method: str, arguments: Sequence[object], annotations: dict[str, bytes]
    ) -> object:
        self._connect(timeout_seconds)
        current_context.annotations = annotations
        return self._proxy._pyroInvoke(method, arguments, {})

    def _invoke_batch(self, timeout_seconds: float, method: str, texts: Sequence[str]) -> object:
        self._connect(timeout_seconds)
        answers = self._proxy._pyroInvokeBatch([(method, (text,), {}) for text in texts])
        if answers and isinstance(answers[-1], Pyro4.futures._ExceptionWrapper):
            raise answers[-1].exception
        return answers

    def _invoke_fast(
        self, timeout_seconds: float, method: str, arguments: Sequence[object], annotations: dict[str, bytes]
    ) -> object:
        proxy = self._proxy
        if proxy._pyroConnection is None:
            self._connect(timeout_seconds)
        connection = proxy._pyroConnection
        seq = proxy._pyroSeq = (proxy._pyroSeq + 1) & 0xFFFF
        request = wire.write_call(connection.objectId, method, arguments, seq, annotations)
        try:
            if not isinstance(connection.recv, Receiver):
                connection.recv = Receiver(connection.sock, timeout_seconds)
            connection.recv.begin(timeout_seconds)
            connection.send(request)
            answer = wire.read_fast(connection.recv.ahead(wire.HEADER.size), message.MSG_RESULT)
            if answer and answer.seq == seq:
                connection.recv(answer.size)
                return answer.content
            return self._read_answer(connection, seq)
        except errors.CommunicationError:
            proxy._pyroRelease()
            raise

    def _read_answer(self, connection: Any, seq: int) -> object:
        """Return an answer that is not of the fast path, or raise the error that it is."""
        header = wire.HEADER.unpack_from(connection.recv.ahead(wire.HEADER.size))
        if header[5] + header[7] > MAX_REQUEST_BYTES:
            raise errors.ProtocolError(f"the answer has more than {MAX_REQUEST_BYTES} bytes")
        answer = message.Message.recv(connection, [message.MSG_RESULT], self._proxy._pyroHmacKey)
        if answer.seq != seq:
            raise errors.ProtocolError(f"expected an answer to call {seq}, got one to {answer.seq}")
        serializer = util.get_serializer_by_id(answer.serializer_id)
        content = wire.load_data(serializer, answer.data, bool(answer.flags & message.FLAGS_COMPRESSED))
        if answer.flags & message.FLAGS_EXCEPTION:
            raise cast(Exception, content)
        return content

    def _lab_error(self, error: Exception) -> LabError:
        """Return the LabError that *error* stands for."""
        if isinstance(error, LabError):
            return error
        if isinstance(error, errors.TimeoutError):
            return DeadlineExceeded(f"{self.uri} did not answer in time")
        if isinstance(error, errors.NamingError):
            return error_from_text(str(error)) or NotFound(f"{self.uri}: {error}")
        if isinstance(error, errors.SecurityError):
            self._proxy._pyroRelease()
            return InvalidRequest(Code.MALFORMED, f"{self.uri}: {wire.NOT_SIGNED}")
        if isinstance(error, errors.CommunicationError):
            rejected = error_from_text(str(error).partition(" rejected: ")[2])
            if rejected and rejected.code is not Code.NOT_FOUND:  # the object is gone, so its node is
                return rejected
            if "no free workers" in str(error):  # of a name server or a subscriber that is not ours
                return Overloaded(f"{self.uri} has no free thread; try again later")
            return Unavailable(f"{self.uri} cannot be reached: {error}; is its node running?")
        said = f"{type(error).__name__}: {error}"
        return error_from_text(str(error)) or InternalError("remote", said)


def answers(uri: str) -> bool:
    """Tell whether the object at *uri* answers a greeting on a new connection."""
    connection = PyroConnection(uri, FOREIGN_SERIALIZER)
    try:
        connection.ping(PROBE_SECONDS)
    except (Unavailable, DeadlineExceeded):
        return False
    except LabError:  # an answer, too
        return True
    finally:
        connection.close()
    return True


class Receiver:
    """Receives parts of messages on *connection*, a small message with one system call.

    The other side may be silent for *silence_seconds*; None: for ever.
    """

    def __init__(self, connection: socket.socket, silence_seconds: float | None) -> None:
        self._socket = connection
        self._silence = hundredths(silence_seconds)
        self._received = b""
        self._deadline = 0.0
        self._has_shorter_limit = False
        limit(connection, self._silence)

    @property
    def has_more(self) -> bool:
        """Tell whether some of the next message has come with the last one."""
        return bool(self._received)

    @property
    def silence_seconds(self) -> float:
        """For how long the other side may be silent; for ever: a thousand days."""
        return (self._silence or 8_640_000_000) / 100

    def receive_now(self) -> None:
        """Receive what has come, if anything; raise Pyro4's ConnectionClosedError at the end."""
        try:
            data = self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if not data:
            raise errors.ConnectionClosedError("the other side has closed the connection")
        self._received += data

    def begin(self, timeout_seconds: float | None = None) -> None:
        """Begin a message, to be there whole within *timeout_seconds*.

        None: its sender may be silent as long as before. Its time counts from the first part that does not
        come at once.
        """
        self._deadline = 0.0 if timeout_seconds is None else time.monotonic() + timeout_seconds
        silence = hundredths(timeout_seconds) or self._silence
        if silence != self._silence or self._socket.gettimeout() is not None:  # Pyro4 sets Python's
            self._silence = silence
            limit(self._socket, silence)

    def ahead(self, size: int) -> bytes:
        """Return what has come, at least *size* bytes, without taking it."""
        if len(self._received) < size:
            self._receive(size)
        return self._received

    def __call__(self, size: int) -> bytes:
        """Take *size* bytes; raise Pyro4's ConnectionClosedError or TimeoutError."""
        received = self.ahead(size)
        self._received = received[size:]
        return received[:size]

    def _receive(self, size: int) -> None:
        parts, length = [self._received], len(self._received)
        try:
            while length < size:
                missing = size - length
                is_large = missing > _RECEIVE_BYTES  # as one piece: memory holds it once
                data = self._socket.recv(max(missing, _RECEIVE_BYTES), socket.MSG_WAITALL if is_large else 0)
                if not data:
                    raise errors.ConnectionClosedError("receiving: not enough data")
                parts.append(data)
                length += len(data)
                if length < size:
                    self._shorten_limit()
        except (TimeoutError, BlockingIOError) as error:
            raise errors.TimeoutError("receiving: timeout") from error
        except OSError as error:
            raise errors.ConnectionClosedError(f"receiving: connection lost: {error}") from error
        finally:
            self._received = b"".join(parts)
            if self._has_shorter_limit:
                self._has_shorter_limit = False
                limit(self._socket, self._silence)

    def _shorten_limit(self) -> None:
        """Wait for the rest of a message only as long as is left."""
        self._deadline = self._deadline or time.monotonic() + MESSAGE_SECONDS
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise errors.TimeoutError("a message was not whole in time")
        self._has_shorter_limit = True
        limit(self._socket, min(hundredths(left), self._silence or hundredths(left)))
