"""Keep each reply with its own call: over threads, over a fork, and after an interrupt.

A connection that carries one request and its reply at a time gives the wrong answer without an error in three
cases: two threads use it at once, a forked process uses its copy, or a call ended before it read its reply.
"""

import math
import os
import socket
import struct
import threading
import weakref
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from lab.errors import DeadlineExceeded

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
        self._lock = threading.RLock()
        after_fork(self)

    def take(self, timeout_seconds: float) -> None:
        """Wait until no other thread has the turn; DeadlineExceeded after *timeout_seconds*."""
        if not self._lock.acquire(timeout=max(0.0, timeout_seconds)):
            message = (
                "another thread used this client until the deadline; give each thread a client of its own"
            )
            raise DeadlineExceeded(message)

    def release(self) -> None:
        """Let the next thread take its turn."""
        self._lock.release()

    def forked(self) -> None:
        """Begin anew in a forked process: the thread that had the turn does not exist here."""
        self._lock = threading.RLock()


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
            self.release()

    def close(self) -> None:
        """Close the connection, after the call that another thread makes on it."""
        self._is_closed = True
        if not self._lock.acquire(blocking=False):
            return  # that call closes it; now, its number could become another connection's
        try:
            self._drop()
        finally:
            self.release()

    def forked(self) -> None:
        super().forked()
        self._is_unread = False
        self._abandon()


def hundredths(seconds: float | None) -> int:
    """Return *seconds* in hundredths, rounded up; 0 for none.

    So rounded, what is left of a deadline when a call begins is mostly what it was for the call before.
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
