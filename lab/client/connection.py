"""Keep each reply with its own call: over threads, over a fork, and after an interrupt.

A connection that carries one request and its reply at a time gives the wrong answer without an error in three
cases: two threads use it at once, a forked process uses its copy, or a call ended before it read its reply.
"""

import math
import os
import socket
import struct
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar
from urllib.parse import urlsplit

from lab.errors import DeadlineExceeded, InternalError, Unavailable
from lab.validation import clean_address

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


class Forked(Protocol):
    """What must change when it finds itself in a forked process."""

    def forked(self) -> None: ...


_to_tell: "weakref.WeakSet[Forked]" = weakref.WeakSet()


def after_fork(one: Forked) -> None:
    """Call ``one.forked()`` in each process that is forked from this one, as long as it exists."""
    _to_tell.add(one)


def _tell_all() -> None:
    for one in tuple(_to_tell):
        one.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell_all)


class Turns:
    """Let threads take turns: one at a time, each waits no longer than its own deadline."""

    def __init__(self) -> None:
        # The same thread may enter twice: so an interrupt just after the lock was taken blocks only others.
        self.lock = threading.RLock()
        """Try it first without :meth:`take`: nearly always it is free, and a call less is time."""
        after_fork(self)

    def take(self, timeout_seconds: float) -> None:
        """Wait until no other thread has the turn; DeadlineExceeded after *timeout_seconds*."""
        if not self.lock.acquire(timeout=max(0.0, timeout_seconds)):
            message = (
                "another thread used this client until the deadline; give each thread a client of its own"
            )
            raise DeadlineExceeded(message)

    def release(self) -> None:
        """Let the next thread take its turn."""
        self.lock.release()

    def forked(self) -> None:
        """Begin again in a forked process: the thread that had the turn does not exist here."""
        self.lock = threading.RLock()


class CallGuard(Turns):
    """Guard a connection: one call at a time, and none on a connection with an unread reply.

    *drop* closes the connection, so that the next call opens a new one. *abandon* does so in a forked
    process, where the other process must be able to go on; none: *drop* does.
    """

    def __init__(self, drop: Callable[[], None], abandon: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._drop = drop
        self._abandon = abandon or drop
        self._is_unread = self._is_closed = False

    def call(
        self,
        timeout_seconds: float,
        exchange: Callable[Parameters, Answer],
        *arguments: Parameters.args,
        **named: Parameters.kwargs,
    ) -> Answer:
        """Return what *exchange* returns: a reply that was read whole.

        Any exception, an interrupt too, closes the connection: its reply may still come, and must not be
        taken for that of the next call. So *exchange* returns an error that is the reply, and does not raise
        it.
        """
        if not self.lock.acquire(blocking=False):
            self.take(timeout_seconds)
        try:
            if self._is_unread:  # an interrupt came where the line below could not run
                self._drop()
            self._is_unread, self._is_closed = True, False
            answer = exchange(*arguments, **named)
            self._is_unread = False
            return answer
        finally:
            if self._is_unread or self._is_closed:
                self._drop()
                self._is_unread = False
            self.lock.release()

    def close(self) -> None:
        """Close the connection, after the call that another thread makes on it."""
        self._is_closed = True
        if not self.lock.acquire(blocking=False):
            return  # that call closes it; now, its number could become another connection's
        try:
            self._drop()
        finally:
            self.release()

    def forked(self) -> None:
        super().forked()
        self._is_unread = False
        self._abandon()


class StreamConnection(ABC):
    """A TCP connection to the server at *address*, ``SCHEME://HOST:PORT``, for requests and their replies.

    It is opened when first needed, and again after an error. Threads take turns.
    """

    scheme: str
    default_port = 0
    receive_bytes = 64 * 1024
    """A larger buffer would be allocated and freed for each reply, at the cost of a page fault or two."""

    def __init__(self, address: str) -> None:
        self._place = clean_address(address, self.scheme, default_port=self.default_port)
        self.address = address
        self.host_header = urlsplit(address).netloc
        self._socket: socket.socket | None = None
        self._limit_hundredths = 0
        self._guard = CallGuard(self.drop)

    @abstractmethod
    def read_reply(self, data: bytes, deadline: float) -> Any:
        """Return the reply that begins with *data*; ValueError if it is none.

        What is missing of it comes from :meth:`receive`.
        """

    def exchange(self, request: bytes, timeout_seconds: float) -> Any:
        """Send *request* and return its reply; raise Unavailable, DeadlineExceeded or InternalError."""
        return self._guard.call(timeout_seconds, self._exchange, request, time.monotonic() + timeout_seconds)

    def receive(self, deadline: float) -> bytes:
        """Return what comes next, until *deadline*."""
        connection = self._connected(deadline)
        self._limit(connection, deadline)
        return self._received(connection)

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        self._guard.close()

    def drop(self) -> None:
        """Close the connection in the thread that uses it."""
        connection, self._socket = self._socket, None
        if connection:
            connection.close()

    def _exchange(self, request: bytes, deadline: float) -> Any:
        reused = self._socket is not None
        try:
            return self._once(request, deadline)
        except Unavailable:
            # The server may have closed an idle connection just now. The request is repeated as it is, so
            # with its operation id, or it changes nothing.
            if not reused:
                raise
            self.drop()
            return self._once(request, deadline)

    def _once(self, request: bytes, deadline: float) -> Any:
        try:
            connection = self._socket or self._connected(deadline)
            self._limit(connection, deadline)
            connection.sendall(request)
            return self.read_reply(self._received(connection), deadline)
        except (TimeoutError, BlockingIOError) as error:
            raise DeadlineExceeded(f"{self.address} did not answer in time") from error
        except OSError as error:
            raise Unavailable(f"{self.address} cannot be reached: {error}; is its server running?") from error
        except ValueError as error:
            raise InternalError("reply", f"{self.address} does not speak our wire: {error}") from error

    def _received(self, connection: socket.socket) -> bytes:
        data = connection.recv(self.receive_bytes)
        if not data:
            raise ConnectionResetError("closed by the other side")
        return data

    def _connected(self, deadline: float) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(self._place, _left(deadline))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._limit_hundredths = 0
        return self._socket

    def _limit(self, connection: socket.socket, deadline: float) -> None:
        """Let the next wait end at *deadline*."""
        left = math.ceil(100 * (deadline - time.monotonic()))
        if left <= 0:
            raise TimeoutError
        if left != self._limit_hundredths:
            limit(connection, left)
            self._limit_hundredths = left


def hundredths(seconds: float | None) -> int:
    """Return *seconds* in hundredths, rounded up; 0 for none.

    Rounded in this way, the time that is left is mostly the same as for the last call, so nothing must be
    set.
    """
    return max(1, math.ceil(100 * seconds)) if seconds is not None else 0


def limit(connection: socket.socket, hundredths: int) -> None:
    """Let no wait of *connection* last longer than *hundredths* of a second; 0: each may last for ever.

    The kernel keeps this limit, and a wait that it ends raises ``BlockingIOError``. Python's own
    (``settimeout``) asks the kernel before each send and receive whether it would wait: half of the system
    calls of a small request.
    """
    pair = struct.pack("@ll", *divmod(10_000 * hundredths, 1_000_000))
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pair)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, pair)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
