"""Start and stop the processes of a system on this machine.

They end with the process that started them: each asks the kernel for a parent-death signal
(:func:`lab.process.node.die_with`). The kernel looks at the *thread* that started it. So start from the main
thread, or from one that lives until they have ended (:mod:`lab.process.supervisor`).

``-m lab.process.launcher PARENT SIGNAL COMMAND...`` becomes COMMAND, which gets SIGNAL when PARENT ends: for
programs that are not ours.
"""

import itertools
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Protocol

from lab.addresses import free_port
from lab.bootstrap import ENDING
from lab.bootstrap import ROOT as ROOT
from lab.contract import Closing
from lab.errors import DeadlineExceeded, Unavailable
from lab.limits import DRAIN_SECONDS
from lab.options import LOOPBACK
from lab.process.node import die_with

READY_SECONDS = 30.0
LAST_WORDS_SECONDS = 2.0
"""How long a process that cannot start has to say why."""
SHARE_SECONDS = 0.5
"""The part of the time to drain that is kept for each role that ends after the nodes."""
MAX_LINE_BYTES = 64 * 1024
"""The longest line with which a process may say that it is ready."""
FREE_PORT = "{free port}"
"""Among the arguments of a process: a port that nobody uses on the machine where it starts."""


class DidNotStart(Unavailable):
    """A process ended before it was ready, with *exit_code*; the message holds its last words."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to start: a module of this project, its arguments, and ``LAB_*`` variables on top of ours."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


class Handle(Protocol):
    """A started process."""

    @property
    def spec(self) -> ProcessSpec: ...

    @property
    def pid(self) -> int: ...

    @property
    def address(self) -> str:
        """The address that it said when it was ready."""

    @property
    def told_to_stop(self) -> bool:
        """Whether it ends, or ended, because :meth:`Launcher.stop` told it to."""


class Launcher(Protocol):
    """Starts and stops processes, here or on other machines."""

    def start(self, spec: ProcessSpec) -> Handle:
        """Start a process and wait until it is ready; raise Unavailable, with its last words, if it ends."""

    def spawn(self, spec: ProcessSpec) -> Handle:
        """Start a process without waiting; follow with :meth:`wait_ready`."""

    def wait_ready(self, handle: Handle) -> None:
        """Wait until it is ready; see :meth:`start`. In any thread."""

    def wait(self, handle: Handle) -> int:
        """Wait, in any thread, until it ended; return its exit code, negative if killed by a signal."""

    def stop(self, handle: Handle, timeout_seconds: float = DRAIN_SECONDS) -> int:
        """Let it drain (SIGTERM), kill it if that takes longer; return its exit code, negative if killed."""

    def kill(self, handle: Handle) -> None:
        """End it at once, with no chance to clean up (kill -9)."""

    def alive(self, handle: Handle) -> bool:
        """Tell whether it runs."""

    def logs(self, handle: Handle) -> str:
        """Return what it wrote to its log so far."""

    def close(self) -> None:
        """Stop everything that still runs and remove the logs."""


class _LocalHandle:
    def __init__(self, spec: ProcessSpec, process: subprocess.Popen[bytes], log: Path) -> None:
        self.spec = spec
        self.process = process
        self.log = log
        self.address = ""
        self.told_to_stop = False
        self._output = threading.Lock()

    @property
    def pid(self) -> int:
        return self.process.pid

    def first_line(self, timeout_seconds: float) -> bytes | None:
        """Return the first line of its output, empty if it ended without one; None: not in time."""
        with self._output:
            stdout = self.process.stdout
            return first_line(stdout, timeout_seconds) if stdout and not stdout.closed else b""

    def free(self) -> None:
        """Close its output, once it has ended: a thread that reads it sees the end first."""
        with self._output:
            if self.process.stdout:
                self.process.stdout.close()


class LocalLauncher(Closing):
    """The :class:`Launcher` on this machine; a context manager. What it starts listens at *host*.

    *root*: the folder whose code it starts.
    """

    def __init__(self, host: str = LOOPBACK, root: Path = ROOT) -> None:
        self._host, self._root = host, root
        self._folder = tempfile.TemporaryDirectory(prefix="lab-logs-")
        self._handles: list[_LocalHandle] = []
        self._numbers = itertools.count()

    def start(self, spec: ProcessSpec) -> _LocalHandle:
        handle = self.spawn(spec)
        self.wait_ready(handle)
        return handle

    def spawn(self, spec: ProcessSpec) -> _LocalHandle:
        arguments = (str(free_port(self._host)) if one == FREE_PORT else one for one in spec.arguments)
        spec = replace(spec, arguments=tuple(arguments))  # started again from it, it is at the same port
        log = Path(self._folder.name) / f"{next(self._numbers)}-{spec.name}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", spec.module, *spec.arguments],
                cwd=self._root,
                env={**os.environ, **spec.environment, "LAB_PARENT": str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stream,
                start_new_session=True,  # Ctrl-C is for us; we then let them drain
            )
        handle = _LocalHandle(spec, process, log)
        self._handles.append(handle)
        return handle

    def wait_ready(self, handle: Handle, timeout_seconds: float = READY_SECONDS) -> None:
        """Wait for the JSON line by which the process says that it is ready."""
        own = _own(handle)
        line = own.first_line(timeout_seconds)
        if line is None:
            self.kill(own)
            said = last_words(self.logs(own))
            options = " ".join(own.spec.arguments)
            raise DeadlineExceeded(
                f"{own.spec.name} not ready after {timeout_seconds:g} s: {said} (its options: {options})"
            )
        try:
            own.address = str(json.loads(line)["address"])
        except (ValueError, TypeError, KeyError) as error:
            code = self._wait(own, time.monotonic() + LAST_WORDS_SECONDS)
            said = last_words(self.logs(own)).removeprefix(f"{own.spec.name}: ")
            raise DidNotStart(f"{own.spec.name} did not start: {said}", code) from error

    def wait(self, handle: Handle) -> int:
        own = _own(handle)
        # Only then reap it: until it is reaped, its process id cannot be another's.
        with suppress(ChildProcessError):  # another thread did
            os.waitid(os.P_PID, own.pid, os.WEXITED | os.WNOWAIT)
        return self._reaped(own)

    def stop(self, handle: Handle, timeout_seconds: float = DRAIN_SECONDS) -> int:
        own = _own(handle)
        own.told_to_stop = True
        if own.process.poll() is None:
            own.process.send_signal(signal.SIGTERM)
        return self._wait(own, time.monotonic() + timeout_seconds)

    def kill(self, handle: Handle) -> None:
        own = _own(handle)
        own.process.kill()
        self._reaped(own)

    def alive(self, handle: Handle) -> bool:
        return _own(handle).process.poll() is None

    def logs(self, handle: Handle) -> str:
        return _own(handle).log.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """Stop what still runs, role by role, the last first: nodes leave their master before it ends."""
        deadline = time.monotonic() + DRAIN_SECONDS
        names = list(dict.fromkeys(handle.spec.name for handle in self._handles))
        for left in reversed(range(len(names))):
            running = [h for h in self._handles if h.spec.name == names[left] and h.process.poll() is None]
            for handle in running:
                handle.told_to_stop = True
                handle.process.send_signal(signal.SIGTERM)
            for handle in running:
                self._wait(handle, deadline - left * SHARE_SECONDS)
        for handle in self._handles:
            handle.free()
        self._folder.cleanup()

    def _wait(self, handle: _LocalHandle, deadline: float) -> int:
        try:
            handle.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            handle.process.kill()
        return self._reaped(handle)

    def _reaped(self, handle: _LocalHandle) -> int:
        code = handle.process.wait()
        handle.free()
        return code


def first_line(stream: IO[bytes], timeout_seconds: float) -> bytes | None:
    """Return the first line that comes through the pipe *stream*; None: it did not come in time.

    Read nothing from *stream* before or after. A line that is too long, or that the end cuts off, is returned
    as far as it came.
    """
    deadline, line = time.monotonic() + timeout_seconds, b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        # Not readline(): it would wait for the rest of half a line, however long that takes.
        while b"\n" not in line and len(line) < MAX_LINE_BYTES:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return None
            part = os.read(stream.fileno(), MAX_LINE_BYTES)
            if not part:
                break
            line += part
    return line.partition(b"\n")[0]


def usable_cores() -> int:
    """Return how many processors this process may run on: fewer than the machine has, if it is confined."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def last_words(log: str) -> str:
    """Return the last line of a *log*."""
    lines = log.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _own(handle: Handle) -> _LocalHandle:
    if not isinstance(handle, _LocalHandle):
        raise TypeError(f"{handle!r} was not started by a local launcher")
    return handle


if __name__ == "__main__":
    parent, how, *command = sys.argv[1:]
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # who started us may have held them back
    die_with(int(parent), signal.Signals[how])
    os.execvp(command[0], command)
