"""Start and stop the processes of a system on this machine.

They die with the process that started them: each asks the kernel for it (``lab.node.die_with``), and the
kernel counts from the *thread* that started it, so always start from the main thread.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lab.errors import DeadlineExceeded, Unavailable
from lab.limits import DRAIN_SECONDS

READY_SECONDS = 30.0
ROOT = Path(__file__).resolve().parent.parent


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


class Launcher(Protocol):
    """Starts and stops processes, here or on other machines."""

    def start(self, spec: ProcessSpec) -> Handle:
        """Start a process and wait until it is ready; raise Unavailable, with its last words, if it ends."""

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

    @property
    def pid(self) -> int:
        return self.process.pid


class LocalLauncher:
    """The :class:`Launcher` on this machine; a context manager."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lab-logs-")
        self._handles: list[_LocalHandle] = []

    def start(self, spec: ProcessSpec) -> _LocalHandle:
        handle = self.spawn(spec)
        self.wait_ready(handle)
        return handle

    def spawn(self, spec: ProcessSpec) -> _LocalHandle:
        """Start a process without waiting; follow with :meth:`wait_ready`."""
        log = Path(self._folder.name) / f"{len(self._handles)}-{spec.name}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", spec.module, *spec.arguments],
                cwd=ROOT,
                env={**os.environ, **spec.environment, "LAB_PARENT": str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stream,
                start_new_session=True,  # Ctrl-C is for us; we then let them drain
            )
        handle = _LocalHandle(spec, process, log)
        self._handles.append(handle)
        return handle

    def wait_ready(self, handle: _LocalHandle, timeout_seconds: float = READY_SECONDS) -> None:
        """Wait for the JSON line by which the process says that it is ready."""
        stdout = handle.process.stdout
        if stdout is None:
            raise Unavailable(f"{handle.spec.name} has no standard output to say that it is ready")
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            if not selector.select(timeout_seconds):
                self.kill(handle)
                said = self._last_words(handle)
                raise DeadlineExceeded(f"{handle.spec.name} not ready after {timeout_seconds:g} s: {said}")
        line = stdout.readline()
        if not line.startswith(b"{"):
            handle.process.wait()
            raise Unavailable(f"{handle.spec.name} did not start: {self._last_words(handle)}")
        handle.address = str(json.loads(line)["address"])

    def stop(self, handle: Handle, timeout_seconds: float = DRAIN_SECONDS) -> int:
        process = self._process(handle)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        return self._wait(process, time.monotonic() + timeout_seconds)

    def kill(self, handle: Handle) -> None:
        process = self._process(handle)
        process.kill()
        process.wait()

    def alive(self, handle: Handle) -> bool:
        return self._process(handle).poll() is None

    def logs(self, handle: Handle) -> str:
        return self._log(handle).read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """Stop what still runs, all at once, the last started first, and remove the logs."""
        running = [handle.process for handle in reversed(self._handles) if handle.process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + DRAIN_SECONDS
        for process in running:
            self._wait(process, deadline)
        for handle in self._handles:
            if handle.process.stdout:
                handle.process.stdout.close()
        self._folder.cleanup()

    def __enter__(self) -> "LocalLauncher":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _wait(self, process: subprocess.Popen[bytes], deadline: float) -> int:
        try:
            return process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _process(self, handle: Handle) -> subprocess.Popen[bytes]:
        return next(own.process for own in self._handles if own is handle)

    def _log(self, handle: Handle) -> Path:
        return next(own.log for own in self._handles if own is handle)

    def _last_words(self, handle: Handle) -> str:
        lines = self.logs(handle).strip().splitlines()
        return lines[-1] if lines else "it said nothing"
