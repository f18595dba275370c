"""Let a process be sampled: ``python -m harness.probes.sampled FOLDER MODULE ...`` runs MODULE so.

The kernel sends SIGPROF after each tick of CPU time to the thread that spent it, and faulthandler, inside the
handler, writes that thread's stack. So a thread that waits is never seen, one that computes is seen for as
long as it computes, and neither the interpreter's lock nor the load on the machine shifts what is seen.
"""

import faulthandler
import os
import runpy
import signal
import socket
import sys
import threading
from functools import cache
from pathlib import Path
from typing import BinaryIO

_FAULTY = ((3, 12) <= sys.version_info < (3, 12, 8)) or ((3, 13) <= sys.version_info < (3, 13, 1))
WHY_NOT = (
    f"Python {sys.version.split()[0]} dies when its stacks are taken in a signal handler "
    "(python/cpython#123967); use 3.11, 3.12.8, 3.13.1 or later"
    if _FAULTY
    else ""
)
"""Why this interpreter cannot be sampled; empty where it can."""
SECONDS_BETWEEN = 0.001
"""Of processor time. The kernel rounds up to its tick, mostly 4 ms."""
READY = b"+"


@cache
def let_sample(folder: Path) -> None:
    """Listen in *folder*: stacks are taken as long as a connection is open. Once per process."""
    stacks = stacks_of(folder, os.getpid()).open("wb", buffering=0)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(door_of(folder, os.getpid())))
    listener.listen()
    faulthandler.register(signal.SIGPROF, file=stacks, all_threads=False)
    threading.Thread(target=_serve, args=(listener, stacks), name="sampling", daemon=True).start()


def door_of(folder: Path, pid: int) -> Path:
    """Return the socket at which process *pid* listens."""
    return folder / f"{pid}.door"


def stacks_of(folder: Path, pid: int) -> Path:
    """Return the file to which process *pid* writes its stacks."""
    return folder / f"{pid}.stacks"


def _serve(listener: socket.socket, stacks: BinaryIO) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the others
    while True:
        connection, _ = listener.accept()
        with connection:
            stacks.seek(0)
            stacks.truncate()
            signal.setitimer(signal.ITIMER_PROF, SECONDS_BETWEEN, SECONDS_BETWEEN)
            connection.sendall(READY)
            connection.recv(1)  # nothing: the other side has seen enough
            signal.setitimer(signal.ITIMER_PROF, 0)


def main(argv: list[str]) -> None:
    """Run a module as ``python -m`` does, open to sampling."""
    folder, module, *arguments = argv
    let_sample(Path(folder))
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
