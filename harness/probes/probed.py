"""Look into running processes from outside: sample the stacks that spend CPU time, or count their calls.

``python -m harness.probes.probed PROBE FOLDER MODULE ...`` runs MODULE so that it can be looked into: it
listens at a socket in FOLDER, and its probe is on while a connection is open.
"""

import faulthandler
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Protocol

from lab.errors import Unavailable

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
ANSWER_SECONDS = 10.0
READY = b"+"
STACKS, CALLS = "stacks", "calls"
"""The two probes."""
Seen = dict[str, list[bytes]]
"""What the probe of each process saw, by component."""


class Probe(Protocol):
    """What is switched on and off in the process that is looked into."""

    def start(self) -> None: ...

    def stop(self) -> bytes:
        """Stop looking; return what was seen since the start."""


class StackSampler:
    """Takes the stack of a thread at each tick of CPU time that it spends.

    The kernel sends SIGPROF to the thread that spent the tick, and faulthandler, inside the handler, writes
    that thread's stack. So a thread that waits is never seen, one that computes is seen for as long as it
    computes, and neither the interpreter's lock nor the load on the machine shifts what is seen.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - open as long as the process
        faulthandler.register(signal.SIGPROF, file=self._file, all_threads=False)

    def start(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        signal.setitimer(signal.ITIMER_PROF, SECONDS_BETWEEN, SECONDS_BETWEEN)

    def stop(self) -> bytes:
        signal.setitimer(signal.ITIMER_PROF, 0)
        self._file.seek(0)
        return self._file.read()


class CallCounter:
    """Counts the calls of Python functions by file, in the thread that installs it and in later threads."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._is_on = False

    def install(self) -> None:
        """Let every call be seen from now on; it is counted between start and stop."""
        threading.setprofile(self._see)
        sys.setprofile(self._see)

    @staticmethod
    def uninstall() -> None:
        """Let no call of this thread and of later ones be seen any more."""
        threading.setprofile(None)
        sys.setprofile(None)

    def start(self) -> None:
        self._calls.clear()
        self._is_on = True

    def stop(self) -> bytes:
        self._is_on = False
        return json.dumps(self._calls).encode()

    def _see(self, frame: FrameType, event: str, _: object) -> None:
        if self._is_on and event == "call":
            self._calls[frame.f_code.co_filename] += 1


@cache
def let_sample(folder: Path) -> None:
    """Let the stacks of this process be sampled. A second call changes nothing."""
    _listen(folder, StackSampler())


@contextmanager
def probing(folder: Path, pids: Mapping[str, Sequence[int]]) -> Iterator[Seen]:
    """Look into the processes of each component during the block; the dictionary then has what was seen.

    Unavailable if a process does not listen in *folder*.
    """
    seen: Seen = {component: [] for component in pids}
    with ExitStack() as stack:
        doors = [
            (component, stack.enter_context(_connected(folder, pid)))
            for component, some in pids.items()
            for pid in some
        ]
        yield seen
        for _, door in doors:
            door.shutdown(socket.SHUT_WR)
        for component, door in doors:
            seen[component].append(b"".join(_received(door)))


def _received(door: socket.socket) -> Iterator[bytes]:
    """Yield what comes until the other side closes."""
    while part := door.recv(65536):
        yield part


def _path(folder: Path, pid: int) -> Path:
    return folder / f"{pid}.door"


def _connected(folder: Path, pid: int) -> socket.socket:
    door = socket.socket(socket.AF_UNIX)
    try:
        door.settimeout(ANSWER_SECONDS)
        door.connect(str(_path(folder, pid)))
        if door.recv(1) == READY:
            return door
    except OSError as error:
        door.close()
        raise Unavailable(f"process {pid} does not let itself be sampled: {error}") from error
    door.close()
    raise Unavailable(f"process {pid} ended before it could be sampled")


def _listen(folder: Path, probe: Probe) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(_path(folder, os.getpid())))
    listener.listen()
    threading.Thread(target=_serve, args=(listener, probe), name="probe", daemon=True).start()


def _serve(listener: socket.socket, probe: Probe) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the others
    while True:
        connection, _ = listener.accept()
        with connection, suppress(OSError):  # the other side has gone
            probe.start()
            try:
                connection.sendall(READY)
                connection.recv(1)  # nothing: the other side has seen enough
            finally:
                seen = probe.stop()
            connection.sendall(seen)


def main(argv: list[str]) -> None:
    """Run a module as ``python -m`` does, open to a probe."""
    kind, folder, module, *arguments = argv
    if kind == STACKS:
        let_sample(Path(folder))
    else:
        counter = CallCounter()
        _listen(Path(folder), counter)  # its own thread is not counted
        counter.install()
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
