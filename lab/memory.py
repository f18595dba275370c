"""Let the memory of large messages go back to the system as soon as they are dealt with."""

import contextlib
import ctypes

LARGE_BYTES = 256 * 1024
_M_MMAP_THRESHOLD = -3
"""Of mallopt(3)."""


def give_back_large_pieces() -> None:
    """Let pieces from LARGE_BYTES on never be kept for later ones.

    glibc raises that threshold, up to 32 MiB, with each large piece that is freed, and keeps what is smaller:
    a node that once refused a few megabytes was larger by ten ever after. Without glibc nothing is changed.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
