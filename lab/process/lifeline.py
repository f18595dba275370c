"""Let a process end with the one that started it."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with(parent: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Let the kernel send *how* to this process when *parent*, its starter, ends (Linux).

    Elsewhere, and for 0, this does nothing. The kernel counts from the *thread* that started it; the setting
    survives exec.
    """
    if not parent or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, how, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call: nobody would ever end us
        sys.exit(1)
