"""Give memory back that a large message took."""

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
MAPPED_FROM_BYTES = 512 * 1024
"""A block of so many bytes is asked of the kernel, and given back when it is freed."""
KEPT_BYTES = 2 * 1024 * 1024
"""As much may stay free at the end of the heap. Left at 128 KiB, a batch would be asked for and given back
each time."""


def give_back_large_blocks() -> None:
    """Let the allocator keep no block that held a large message (glibc; elsewhere this does nothing).

    glibc raises its threshold to the largest block that was freed, and then cuts small pieces out of such
    blocks: a few requests of 1 MiB, and a node is 10 MB larger for ever.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; on Windows there is no None
        return
    mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES)
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
