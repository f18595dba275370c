"""A broker that can be used, and a private one's process: killed and restarted at will, gone at the end."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lab.addresses import free_port, is_open
from lab.bootstrap import ENDING, ROOT
from lab.contract import Closing
from lab.errors import AlreadyRunning, Unavailable
from lab.options import LOOPBACK

START_SECONDS = 60.0
STOP_SECONDS = 15
LOOK_AGAIN_SECONDS = 0.05
SILENT = "does not answer"
"""The reason where nothing serves at the address of a broker."""


class Server:
    """*command* with its data in *folder*, ready when *answers* returns True.

    *detached*: it outlives this process (``lab up``) and its data stays; otherwise the kernel ends it with
    us, by *end_signal*. *companions* are servers that it needs and that end with it.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        answers: Callable[[], bool],
        *,
        detached: bool = False,
        companions: Sequence["Server"] = (),
        end_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self._command = command
        self._environment = environment
        self._answers = answers
        self._detached = detached
        self._companions = companions
        self._end_signal = end_signal
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = folder

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._process.pid if self._process else 0

    @property
    def pids(self) -> list[int]:
        """The process ids of the server and its companions."""
        return [self.pid, *(companion.pid for companion in self._companions)]

    def start(self) -> None:
        """Start it and wait until it answers. After :meth:`kill`, it has the same data."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            for companion in self._companions:
                if not companion.pid:
                    companion.start()
            self._wait_until_it_answers(self._spawn())
        except BaseException:  # Ctrl-C too: only this function knows the process so far
            self.close()
            raise

    def _spawn(self) -> "subprocess.Popen[bytes]":
        parent = 0 if self._detached else os.getpid()
        launcher = [sys.executable, "-m", "lab.process.launcher", str(parent), self._end_signal.name]
        # An interrupt inside Popen would leave a process that nobody knows.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            with (self.folder / "server.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [*launcher, *self._command],
                    cwd=ROOT,
                    env={**os.environ, **self._environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for us; we then end it
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self._process

    def release(self) -> None:
        """Let it and its companions outlive this process."""
        for server in (self, *self._companions):
            if server._process:
                server._process.returncode = 0  # or Popen warns of a child that is left behind

    def kill(self) -> None:
        """End it at once (kill -9); its data stays."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End it and its companions, and remove the data of one that is not *detached*."""
        if self._process:
            for _ in range(STOP_SECONDS):
                self._process.send_signal(signal.SIGTERM)  # Erlang does not hear one that comes as it starts
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(1.0)
                    break
            else:
                self.kill()
        for companion in self._companions:
            companion.close()
        if not self._detached:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_until_it_answers(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "server.log").read_text(encoding="utf-8", errors="replace").strip()
                name = Path(self._command[0]).name
                raise Unavailable(f"{name} did not start; its last words: {said[-300:] or 'none'}")
            time.sleep(LOOK_AGAIN_SECONDS)


def kept_port(folder: Path, name: str, host: str = LOOPBACK) -> int:
    """Return the port that a server in *folder* had under *name*, so that its clients find it again.

    If it had none, or another process listens there, choose a free port and keep it from now on.
    """
    file = folder / name
    try:
        kept = int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        kept = 0
    if kept and not is_open(kept, host):
        return kept
    if kept:
        say(f"port {kept} of {folder.name} is taken by another process; it gets a new port")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port(host)
    file.write_text(str(port), encoding="utf-8")
    return port


def refuse_second(folder: Path, is_ours: Callable[[int], bool]) -> None:
    """Raise AlreadyRunning if a server runs in *folder*: two would damage its data."""
    with suppress(OSError, ValueError):
        port = int((folder / "port").read_text(encoding="utf-8"))
        if is_open(port) and is_ours(port):
            raise AlreadyRunning(
                f"a server runs in {folder} already, at port {port}, and it is not known how it was started; "
                "`python3 -m lab doctor --sweep` ends it"
            )


def say(message: str) -> None:
    """Tell the user what is being done; results stay on standard output."""
    print(message, file=sys.stderr, flush=True)


def redacted(url: str) -> str:
    """Return *url* without its user and password."""
    return re.sub(r"//[^/@]*@", "//", url)


class Broker(Closing):
    """A context manager: a private broker ends with it, any other goes on running.

    *origin* is "given" (by ``LAB_*_URL``), "up" (``lab up`` started it), "found" (on its usual port) or
    "private". *guarantees* says how durable it is.
    """

    def __init__(
        self, kind: str, url: str, origin: str, guarantees: str, server: Server | None = None
    ) -> None:
        self.kind = kind
        self.url = url
        self.origin = origin
        self.guarantees = guarantees
        self.server = server
        """The process of a private broker, to kill and restart it."""

    def describe(self) -> str:
        """Say in one line what it is, without its password."""
        return f"{self.kind}: {self.origin}, {redacted(self.url)}, {self.guarantees}"

    def close(self) -> None:
        """End a private broker and remove its data."""
        if self.server:
            self.server.close()
