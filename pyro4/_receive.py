"""Receive a message in a bounded time, however slowly it comes."""

import socket
import time

from Pyro4 import errors

MESSAGE_SECONDS = 10.0
"""A message must be there whole this long after its first byte."""
_RECEIVE_BYTES = 60_000


class TimelyReceiver:
    """Receives parts of messages on *connection*, whose own time limit is that of silence.

    Pyro4 limits only silence: a sender of a byte every four seconds would keep a thread for weeks.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._silence_seconds = connection.gettimeout()
        self._deadline = 0.0

    def begin(self) -> None:
        """Begin a message: its time counts from the first part of it that does not come at once."""
        self._deadline = 0.0

    def __call__(self, size: int) -> bytes:
        """Return *size* bytes; raise Pyro4's ConnectionClosedError or TimeoutError."""
        try:
            data = self._socket.recv(size, socket.MSG_WAITALL)
            return data if len(data) == size else self._rest(size, data)
        except TimeoutError as error:
            raise errors.TimeoutError("receiving: timeout") from error
        except OSError as error:
            raise errors.ConnectionClosedError(f"receiving: connection lost: {error}") from error

    def _rest(self, size: int, data: bytes) -> bytes:
        parts, length = [data], len(data)
        self._deadline = self._deadline or time.monotonic() + MESSAGE_SECONDS
        try:
            while length < size:
                left = self._deadline - time.monotonic()
                if left <= 0 or not data:
                    break
                self._socket.settimeout(min(left, self._silence_seconds or left))
                data = self._socket.recv(min(_RECEIVE_BYTES, size - length))
                parts.append(data)
                length += len(data)
        finally:
            self._socket.settimeout(self._silence_seconds)
        if length < size and data:
            raise errors.TimeoutError(f"a message was not whole {MESSAGE_SECONDS:g} s after it began")
        if length < size:
            raise errors.ConnectionClosedError("receiving: not enough data")
        return b"".join(parts)
