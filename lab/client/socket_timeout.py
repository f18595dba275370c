"""Time limits of a socket kept by the kernel. A wait that they end raises ``BlockingIOError``.

Python's own (``settimeout``) asks the kernel before each send and receive whether it would wait: half of the
system calls of a small request.
"""

import math
import socket
import struct


def hundredths(seconds: float | None) -> int:
    """Return *seconds* in hundredths, rounded up; 0 for none.

    So rounded, what is left of a deadline when a call begins is mostly what it was for the call before.
    """
    return max(1, math.ceil(100 * seconds)) if seconds is not None else 0


def limit(connection: socket.socket, hundredths: int) -> None:
    """Let no wait of *connection* last longer than *hundredths* of a second; 0: each may last for ever."""
    pair = struct.pack("@ll", *divmod(10_000 * hundredths, 1_000_000))
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pair)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, pair)
