"""Receive messages in a bounded time, however slowly they come, and with one system call for a small one."""

import socket
import time

from Pyro4 import errors

from lab.client.socket_timeout import hundredths, limit

MESSAGE_SECONDS = 10.0
"""A message must be there whole this long after its first byte."""
_RECEIVE_BYTES = 16 * 1024


class TimelyReceiver:
    """Receives parts of messages on *connection*, which may be silent for *silence_seconds* (none: for ever).

    Pyro4 limits only silence: a sender of a byte every four seconds would keep a thread for weeks.
    """

    def __init__(self, connection: socket.socket, silence_seconds: float | None) -> None:
        self._socket = connection
        self._silence = hundredths(silence_seconds)
        self._received = b""
        self._deadline = 0.0
        self._is_hurried = False
        limit(connection, self._silence)

    @property
    def has_more(self) -> bool:
        """Tell whether some of the next message has come with the last one."""
        return bool(self._received)

    @property
    def silence_seconds(self) -> float:
        """For how long the other side may be silent; for ever: a thousand days."""
        return (self._silence or 8_640_000_000) / 100

    def receive_at_once(self) -> None:
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

        None: its sender may be silent as long as ever; its time counts from the first part that does not come
        at once.
        """
        self._deadline = 0.0 if timeout_seconds is None else time.monotonic() + timeout_seconds
        silence = hundredths(timeout_seconds) or self._silence
        if silence != self._silence or self._socket.gettimeout() is not None:  # Pyro4 sets Python's
            self._silence = silence
            limit(self._socket, silence)

    def ahead(self, size: int) -> bytes:
        """Return what has come, at least *size* bytes; it is not taken."""
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
                is_large = missing > _RECEIVE_BYTES  # then as one piece: memory holds it once
                data = self._socket.recv(max(missing, _RECEIVE_BYTES), socket.MSG_WAITALL if is_large else 0)
                if not data:
                    raise errors.ConnectionClosedError("receiving: not enough data")
                parts.append(data)
                length += len(data)
                if length < size:
                    self._hurry()
        except (TimeoutError, BlockingIOError) as error:
            raise errors.TimeoutError("receiving: timeout") from error
        except OSError as error:
            raise errors.ConnectionClosedError(f"receiving: connection lost: {error}") from error
        finally:
            self._received = b"".join(parts)
            if self._is_hurried:
                self._is_hurried = False
                limit(self._socket, self._silence)

    def _hurry(self) -> None:
        """Wait for the rest of a message only as long as is left."""
        self._deadline = self._deadline or time.monotonic() + MESSAGE_SECONDS
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise errors.TimeoutError("a message was not whole in time")
        self._is_hurried = True
        limit(self._socket, min(hundredths(left), self._silence or hundredths(left)))
