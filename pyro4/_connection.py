"""A proxy with a time limit for each call, operation ids, and our errors."""

import select
import socket
from collections.abc import Callable, Sequence
from typing import Any, cast

import Pyro4
from Pyro4 import message, util
from Pyro4.core import current_context

from lab.client.connection import CallGuard
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
from lab.settings import settings

from . import _plain
from ._receive import TimelyReceiver
from ._refusals import NOT_SIGNED

OPERATION_ID = "OPID"
TICK = "TICK"

FOREIGN_SERIALIZER = "serpent"
"""What objects take that are not ours, as Pyro4 comes: its own name server, a user's subscriber."""
_ANY_REMOTE_ERROR = Exception
"""A remote error arrives as whatever class it had there."""


class PyroConnection:
    """A connection to the object at *uri*; opened when first needed. For one thread at a time.

    *serializer* is one that the other side takes, none: ours. Pyro4's own default takes serpent, not msgpack.
    """

    def __init__(self, uri: str, serializer: str | None = None) -> None:
        try:
            self._proxy = Pyro4.Proxy(uri)
        except Pyro4.errors.PyroError as error:
            raise InvalidRequest(
                Code.MALFORMED, f"{uri!r} is not a Pyro URI like PYRO:object@host:port"
            ) from error
        if self._proxy._pyroUri.sockname:
            raise InvalidRequest(Code.MALFORMED, f"{uri!r} is a path; give PYRO:object@host:port")
        self._proxy._pyroSerializer = serializer
        self._proxy._pyroHmacKey = settings().pyro_key or None
        is_msgpack = (serializer or Pyro4.config.SERIALIZER) == "msgpack"
        self._is_plain = is_msgpack and not self._proxy._pyroHmacKey
        self.uri = uri
        self._guard = CallGuard(self._proxy._pyroRelease, self._abandon)

    def call(
        self,
        method: str,
        arguments: Sequence[object],
        timeout_seconds: float,
        operation_id: str = "",
        *,
        tick: int = 0,
    ) -> object:
        """Call *method*; raise the LabError it stands for, Unavailable, or DeadlineExceeded."""
        annotations = _annotations(operation_id, tick)
        return self._guarded(
            timeout_seconds, lambda: self._invoke(method, arguments, timeout_seconds, annotations)
        )

    def batch(self, method: str, texts: Sequence[str], timeout_seconds: float) -> list[object]:
        """Call *method* with each of *texts* in one message; it ends at the first error, the last answer."""
        calls: list[tuple[str, tuple[str], dict[str, object]]] = [(method, (text,), {}) for text in texts]

        def invoke() -> object:
            self._proxy._pyroTimeout = timeout_seconds
            return self._proxy._pyroInvokeBatch(calls)

        return cast(list[object], self._guarded(timeout_seconds, invoke))

    def ping(self, timeout_seconds: float) -> None:
        """Connect anew; raise Unavailable or DeadlineExceeded if nobody is there."""
        self.close()
        self._proxy._pyroTimeout = timeout_seconds
        self._guard.call(timeout_seconds, self._translated, self._proxy._pyroBind)

    def is_lost(self) -> bool:
        """Tell, without asking the other side, whether the connection is closed or was never opened."""
        connection = self._proxy._pyroConnection
        if connection is None:
            return True
        # Asked first: with a time limit Python would wait for a byte, whatever flags a receive is given.
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

    def _guarded(self, timeout_seconds: float, invoke: Callable[[], object]) -> object:
        answer = self._guard.call(timeout_seconds, self._answer, invoke)
        if isinstance(answer, LabError):
            raise answer
        return answer

    def _answer(self, invoke: Callable[[], object]) -> object:
        """Return what *invoke* returns, or the error that it raises if that is the reply itself."""
        try:
            return self._repeated(invoke)
        except (Unavailable, DeadlineExceeded):
            raise
        except LabError as error:
            return error

    def _repeated(self, invoke: Callable[[], object]) -> object:
        """Call again, once, if a connection that was open turns out closed: the server drops idle ones."""
        reused = self._proxy._pyroConnection is not None
        try:
            return self._translated(invoke)
        except Unavailable:
            if not reused:
                raise
            self._proxy._pyroRelease()
            return self._translated(invoke)

    def _invoke(
        self, method: str, arguments: Sequence[object], timeout_seconds: float, annotations: dict[str, bytes]
    ) -> object:
        if self._is_plain:
            return self._invoke_plainly(method, arguments, timeout_seconds, annotations)
        self._proxy._pyroTimeout = timeout_seconds
        current_context.annotations = annotations
        return self._proxy._pyroInvoke(method, arguments, {})

    def _invoke_plainly(
        self, method: str, arguments: Sequence[object], timeout_seconds: float, annotations: dict[str, bytes]
    ) -> object:
        proxy = self._proxy
        if proxy._pyroConnection is None:
            proxy._pyroTimeout = timeout_seconds
            proxy._pyroBind()
        connection = proxy._pyroConnection
        seq = proxy._pyroSeq = (proxy._pyroSeq + 1) & 0xFFFF
        request = _plain.call(connection.objectId, method, arguments, seq, annotations)
        try:
            if not isinstance(connection.recv, TimelyReceiver):
                connection.recv = TimelyReceiver(connection.sock, timeout_seconds)
            connection.recv.begin(timeout_seconds)
            connection.send(request)
            answer = _plain.read(connection.recv.ahead(_plain.HEADER.size), message.MSG_RESULT)
            if answer and answer.seq == seq:
                connection.recv(answer.size)
                return answer.content
            return self._read_answer(connection, seq)
        except Pyro4.errors.CommunicationError:
            proxy._pyroRelease()
            raise

    def _read_answer(self, connection: Any, seq: int) -> object:
        """Return an answer that is not plain, or raise the error that it is."""
        answer = message.Message.recv(connection, [message.MSG_RESULT], self._proxy._pyroHmacKey)
        if answer.seq != seq:
            raise Pyro4.errors.ProtocolError(f"expected an answer to call {seq}, got one to {answer.seq}")
        serializer = util.get_serializer_by_id(answer.serializer_id)
        content = serializer.deserializeData(answer.data, answer.flags & message.FLAGS_COMPRESSED)
        if answer.flags & message.FLAGS_EXCEPTION:
            raise content
        return content

    def _translated(self, invoke: Callable[[], object]) -> object:
        try:
            return invoke()
        except Pyro4.errors.TimeoutError as error:
            raise DeadlineExceeded(f"{self.uri} did not answer in time") from error
        except Pyro4.errors.NamingError as error:
            raise error_from_text(str(error)) or NotFound(f"{self.uri}: {error}") from error
        except Pyro4.errors.SecurityError as error:
            self._proxy._pyroRelease()
            raise InvalidRequest(Code.MALFORMED, f"{self.uri}: {NOT_SIGNED}") from error
        except Pyro4.errors.CommunicationError as error:
            rejected = error_from_text(str(error).partition(" rejected: ")[2])
            if rejected and rejected.code is not Code.NOT_FOUND:  # that object is gone, as its node is
                raise rejected from error
            if "no free workers" in str(error):  # of a name server or a subscriber that is not ours
                raise Overloaded(f"{self.uri} has no free thread; try again later") from error
            raise Unavailable(f"{self.uri} cannot be reached: {error}; is its node running?") from error
        except _ANY_REMOTE_ERROR as error:
            raise as_lab_error(error) from error


def answers(uri: str) -> bool:
    """Tell whether the node at *uri* answers a greeting on a new connection."""
    connection = PyroConnection(uri, FOREIGN_SERIALIZER)  # what any object takes
    try:
        connection.ping(PROBE_SECONDS)
    except (Unavailable, DeadlineExceeded):
        return False
    except LabError:  # an answer, too
        return True
    finally:
        connection.close()
    return True


def batch_answer(answer: object) -> str:
    """Return a text from the answers of a batch, or raise the LabError that stands in its place."""
    if isinstance(answer, Pyro4.futures._ExceptionWrapper):
        raise as_lab_error(answer.exception)
    return cast(str, answer)


def as_lab_error(error: BaseException) -> LabError:
    """Return the LabError that a remote error stands for."""
    if isinstance(error, LabError):
        return error
    return error_from_text(str(error)) or InternalError("remote", f"{type(error).__name__}: {error}")


def _annotations(operation_id: str, tick: int) -> dict[str, bytes]:
    annotations = {}
    if operation_id:
        annotations[OPERATION_ID] = operation_id.encode()
    if tick:
        annotations[TICK] = str(tick).encode()
    return annotations
