"""Look into running processes from outside: sample the stacks that spend CPU time, or count their calls.

``python -m harness.probes.probed stacks MODULE ...`` runs MODULE so that py-spy may read its memory. With
``calls FOLDER MODULE ...`` it listens at a socket in FOLDER, and counts while a connection is open.
"""

import ctypes
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from types import FrameType

from harness.probes.parts import Stack, read_stacks
from lab.errors import Unavailable

SAMPLES_PER_SECOND = 250
ANSWER_SECONDS = 10.0
READY = b"+"
STACKS, CALLS = "stacks", "calls"
"""The two probes."""
Seen = dict[str, list[bytes]]
"""What the probe of each process saw, by component."""
_BEGUN = "Sampling process"
"""What py-spy says when it begins."""
_SET_PTRACER, _ANY = 0x59616D61, -1


def let_sample() -> None:
    """Let other processes of this user read the memory of this one, where Linux asks for it (Yama)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PTRACER, ctypes.c_ulong(_ANY), 0, 0, 0)


@cache
def why_not() -> str:
    """Return why processes cannot be sampled here; empty if they can."""
    let_sample()
    try:
        with sampling({"this process": [os.getpid()]}):
            return ""
    except Unavailable as error:
        return error.message


@contextmanager
def sampling(pids: Mapping[str, Sequence[int]]) -> Iterator[Mapping[str, Counter[Stack]]]:
    """Sample the processes of each component during the block; the counters then hold the stacks seen.

    A thread counts only if the kernel runs it at that moment, so one that waits is never seen. No process
    is stopped, and nothing runs inside it: a stack that changes while it is read is lost or, rarely, wrong.

    Unavailable if a process cannot be sampled: it has ended, or the system does not allow it.
    """
    seen: dict[str, Counter[Stack]] = {component: Counter() for component in pids}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-stacks-")))
        samplers = [
            (component, folder / str(pid), stack.enter_context(_sampler(pid, folder / str(pid))))
            for component, some in pids.items()
            for pid in some
        ]
        yield seen
        for _, _, sampler in samplers:
            sampler.send_signal(signal.SIGINT)
        for component, path, sampler in samplers:
            sampler.communicate(timeout=ANSWER_SECONDS)
            if path.exists():  # it does not if nothing was seen
                seen[component] += read_stacks(path.read_text(encoding="utf-8"))


@contextmanager
def _sampler(pid: int, output: Path) -> Iterator[subprocess.Popen[str]]:
    """Let py-spy look into the process *pid*; it writes to *output* when it is interrupted."""
    beside = Path(sys.executable).with_name("py-spy")
    command = [str(beside) if beside.exists() else "py-spy", "record", "--pid", str(pid)]
    command += ["--rate", str(SAMPLES_PER_SECOND), "--nonblocking", "--full-filenames", "--format", "raw"]
    try:
        sampler = subprocess.Popen(
            [*command, "--output", str(output)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except OSError as error:
        raise Unavailable(f"py-spy cannot be started: {error}") from error
    with sampler:
        try:
            said = ""
            while _BEGUN not in said:
                line = sampler.stdout.readline() if sampler.stdout else ""
                if not line:
                    raise Unavailable(f"process {pid} cannot be sampled: {_reason(said)}")
                said += line
            yield sampler
        finally:
            sampler.kill()


def _reason(said: str) -> str:
    """Return what py-spy gives as the cause of its failure."""
    found = re.search(r"^\s*0: (.*)|^Error: (.*)", said, re.MULTILINE)
    return (found[1] or found[2]) if found else said.strip()


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
        """Return the number of calls since the start, by file, as JSON."""
        self._is_on = False
        return json.dumps(self._calls).encode()

    def _see(self, frame: FrameType, event: str, _: object) -> None:
        if self._is_on and event == "call":
            self._calls[frame.f_code.co_filename] += 1


@contextmanager
def counting(folder: Path, pids: Mapping[str, Sequence[int]]) -> Iterator[Seen]:
    """Count calls in the processes of each component during the block; the dictionary then has them.

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
        raise Unavailable(f"process {pid} does not let its calls be counted: {error}") from error
    door.close()
    raise Unavailable(f"process {pid} ended before its calls could be counted")


def _listen(folder: Path, probe: CallCounter) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(_path(folder, os.getpid())))
    listener.listen()
    threading.Thread(target=_serve, args=(listener, probe), name="probe", daemon=True).start()


def _serve(listener: socket.socket, probe: CallCounter) -> None:
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
    probe, *arguments = argv
    if probe == STACKS:
        let_sample()
    else:
        counter = CallCounter()
        _listen(Path(arguments.pop(0)), counter)  # its own thread is not counted
        counter.install()
    module, *sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
