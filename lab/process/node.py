"""Run a process of a system from its command line: start, prove that it serves, say so, drain at the end."""

import ctypes
import errno
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Protocol

from lab.bootstrap import FAILED, GOOD, INTERRUPTED, WRONG_USAGE, run_program
from lab.errors import AlreadyRunning, Code, DeadlineExceeded, InvalidRequest, LabError
from lab.limits import DRAIN_SECONDS
from lab.settings import settings
from lab.work import without_declared_work

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
MAPPED_FROM_BYTES = 512 * 1024
"""A block of so many bytes is mapped by itself, and returned when it is freed."""
KEPT_BYTES = 2 * 1024 * 1024
"""So much may stay free at the end of the heap. With 128 KiB, each batch would allocate it again."""


class Node(Protocol):
    """A process of a system: a node, a master, a broadcaster."""

    def start(self) -> str:
        """Serve, in threads of its own, but join nobody yet; return the address to reach it by."""

    def canary(self) -> None:
        """Let one request go through the whole path; raise a LabError if it does not come back."""

    def join(self) -> None:
        """Let the others know: from now on clients are sent here."""

    def drain(self, timeout_seconds: float) -> None:
        """Take nothing more, finish what was taken, acknowledge it, and free everything."""


def run(name: str, make: Callable[[], Node]) -> int:
    """Run the node that *make* returns until SIGTERM or Ctrl-C; return the exit code.

    Once a canary request went through it, one JSON line on standard output says that it is ready and where.
    """
    return run_program(lambda: _run(name, make))


def _run(name: str, make: Callable[[], Node]) -> int:
    logging.basicConfig(
        level=settings().log_level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # Blocked here and in every thread started from now on; a handler that sets an Event can deadlock.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    return_freed_heap()
    try:
        die_with(settings().parent)
        node = make()
        try:
            address = node.start()
            _check(node)
            node.join()
            ready = {"ready": True, "role": name, "address": address, "pid": os.getpid()}
            print(json.dumps(ready), flush=True)
            received = signal.sigwait(STOP_SIGNALS)
        finally:
            node.drain(DRAIN_SECONDS)
    except LabError as error:
        print(f"{name}: {error.code}: {error}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, (InvalidRequest, AlreadyRunning)) else FAILED
    log.info("%s stopped", name)
    return INTERRUPTED if received == signal.SIGINT else GOOD


def _check(node: Node) -> None:
    """Send the canary request. If it is late, the error names the options, as they may be the cause."""
    try:
        with without_declared_work():
            node.canary()
    except DeadlineExceeded as error:
        options = " ".join(sys.argv[1:]) or "none"
        raise DeadlineExceeded(f"{error.message} (the node's options: {options})") from error


def die_with(parent: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel for a parent-death signal: *how* comes when *parent*, which started us, ends (Linux).

    Elsewhere, and for 0, this does nothing. The kernel looks at the *thread* that started us. The setting
    survives exec.
    """
    if not parent or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, how, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call: no signal will come
        sys.exit(1)


def return_freed_heap() -> None:
    """Return freed heap to the operating system: keep no block that held a large message.

    This is for glibc; elsewhere it does nothing.

    glibc raises its threshold to the largest block that was freed, and then cuts small pieces out of such
    blocks: a few requests of 1 MiB, and a node is 10 MB larger for ever.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; on Windows there is no None
        return
    mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES)
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def cannot_listen(host: str, port: int, error: OSError) -> LabError:
    """Return the error with which a process ends that cannot bind *port* of *host*: exit code 2."""
    where = f"cannot listen on {host}:{port}: {error.strerror or error}"
    if error.errno == errno.EADDRINUSE:
        return AlreadyRunning(f"{where}; does it run already? If not, try another --port")
    return InvalidRequest(Code.MALFORMED, f"{where}; try another --host or --port")
