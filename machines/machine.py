"""``lab machine``: let this machine be one of several that measure together (docs/cluster.md).

Below the command is what the lab does on a machine: start processes, and end them all in time. It is an
actor: Dask makes it once, on the worker it is pinned to, and never again elsewhere. What it started ends with
the worker (``lab.process.node``), or when its owner has not renewed its lease for some seconds.
"""

import argparse
import asyncio
import hashlib
import os
import platform
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Client
from urllib.parse import urlsplit

import psutil

from lab.addresses import free_port, is_open
from lab.bootstrap import ROOT
from lab.cli.brokers import say
from lab.errors import Code, InvalidRequest, Unavailable
from lab.options import Parser, host, port
from lab.process.launcher import Handle, LocalLauncher, ProcessSpec, usable_cores

SCHEDULER_PORT = 8786


def main(argv: list[str]) -> int:
    """Become the Dask scheduler, or the one Dask worker of this machine, until Ctrl-C."""
    options = _parser().parse_args(argv)
    if options.scheduler == bool(options.address):
        _parser().error("give the scheduler's ADDRESS to join it, or --scheduler to be it")
    if ":" in options.host:
        _parser().error("--host: machines measure together over IPv4 only")
    free_port(options.host)  # is it an address of this machine?
    if options.address:
        check_scheduler(options.address)
    elif is_open(options.port, options.host):
        raise Unavailable(f"somebody listens at {options.host}:{options.port} already; take another --port")
    dask = [sys.executable, "-m", "dask"]
    if options.scheduler:
        where = ["--host", options.host, "--port", str(options.port)]
        join = f"python3 -m lab machine tcp://{options.host}:{options.port} --host"
        say(f"on each machine, this one too: {join} ITS_ADDRESS")
        command = [*dask, "scheduler", *where, "--no-dashboard", "--no-jupyter"]
    else:
        # One process that nobody starts again, pauses or kills for its memory: the lab looks after it.
        alone = ["--nworkers", "1", "--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--no-dashboard"]
        command = [*dask, "worker", options.address, "--host", options.host, *alone]
    os.chdir(ROOT)
    os.execv(sys.executable, command)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python3 -m lab machine", description=__doc__.splitlines()[0])
    parser.add_argument("address", nargs="?", default="", help="join the scheduler at tcp://HOST:8786")
    parser.add_argument("--scheduler", action="store_true", help="be the scheduler")
    parser.add_argument(
        "--host", type=host, required=True, help="address of this machine, at which the others can reach it"
    )
    parser.add_argument("--port", type=port, default=SCHEDULER_PORT, help="of the scheduler (default 8786)")
    return parser


def check_scheduler(url: str) -> None:
    """Raise InvalidRequest if *url* is no address of a scheduler, Unavailable if nobody listens there."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port or parts.scheme not in ("tcp", "tls"):
        message = f"{url!r} is not a Dask scheduler's address like tcp://10.0.0.1:8786"
        raise InvalidRequest(Code.MALFORMED, message)
    if not is_open(port, host):
        raise nobody_at(url)


def nobody_at(url: str) -> Unavailable:
    """Return the error of a scheduler that does not answer."""
    return Unavailable(f"no Dask scheduler answers at {url}: docs/cluster.md tells how to start one")


LEASE_SECONDS = 10.0
"""Longer than a short loss of the network: after 3 s without a link, TCP sends again within 3 s."""
LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Description:
    """A machine as results name it, and the facts that must be the same on all machines."""

    name: str
    cores: int
    python: str
    commit: str
    code: str
    """A digest of the lab's files."""
    memory_gib: float
    load_before: float


def describe() -> Description:
    """Describe the machine on which this runs."""
    memory = round(psutil.virtual_memory().total / 2**30, 1)
    return Description(
        platform.node(),
        usable_cores(),
        platform.python_version(),
        commit(),
        digest(),
        memory,
        round(os.getloadavg()[0], 2),
    )


# The version of the lab's code: machines that measure together must run the same.


def commit() -> str:
    """Return the short name of the commit; empty without git."""
    return _git("rev-parse", "--short", "HEAD")


def is_dirty() -> bool:
    """Tell whether files differ from the commit."""
    return bool(_git("status", "--porcelain"))


def digest() -> str:
    """Return a digest of the Python files of all packages."""
    whole = hashlib.sha256()
    for path in sorted(ROOT.glob("[!.]*/**/*.py")):
        whole.update(f"{path.relative_to(ROOT)}\n".encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


class Machine:
    """Starts and ends processes, named by numbers. Slow steps run outside of the worker's event loop."""

    def __init__(self, host: str) -> None:
        self._launcher = LocalLauncher(host)
        self._handles: list[Handle] = []
        self._renewed = time.monotonic()
        self._closed = threading.Event()
        self._closing = threading.Lock()
        # The kernel ends a process with the thread that started it; this one lives as long as the worker.
        self._starter = ThreadPoolExecutor(1, "starter")
        threading.Thread(target=self._watch, name="lease", daemon=True).start()

    async def renew(self) -> bool:
        """Renew the lease; False: it was over before, and all processes have ended."""
        self._renewed = time.monotonic()
        return not self._closed.is_set()

    async def spawn(self, spec: ProcessSpec) -> tuple[int, int]:
        """Start a process; return its number and its process id."""
        return await asyncio.get_running_loop().run_in_executor(self._starter, self._spawn, spec)

    async def wait_ready(self, number: int) -> str:
        """See :class:`lab.process.launcher.Launcher`; return the address."""
        handle = self._handles[number]
        await asyncio.to_thread(self._launcher.wait_ready, handle)
        return handle.address

    async def stop(self, number: int, timeout_seconds: float) -> int:
        """See :class:`lab.process.launcher.Launcher`."""
        return await asyncio.to_thread(self._launcher.stop, self._handles[number], timeout_seconds)

    async def kill(self, number: int) -> None:
        """See :class:`lab.process.launcher.Launcher`."""
        await asyncio.to_thread(self._launcher.kill, self._handles[number])

    async def ended(self, number: int) -> int | None:
        """Return its exit code; None: it runs."""
        handle = self._handles[number]
        return None if self._launcher.alive(handle) else self._launcher.wait(handle)

    async def logs(self, number: int) -> str:
        """See :class:`lab.process.launcher.Launcher`."""
        return await asyncio.to_thread(self._launcher.logs, self._handles[number])

    async def spent(self, numbers: list[int]) -> list[tuple[float, float]]:
        """Return CPU seconds and MiB of memory of each process; zeros if it has ended."""
        return [_spent(self._handles[number].pid) for number in numbers]

    async def ask(self, address: str, question: bytes) -> bytes:
        """Send *question* to a process of ours that listens on a local socket; return its answer."""
        return await asyncio.to_thread(_ask, address, question)

    async def close(self) -> None:
        """End everything."""
        await asyncio.to_thread(self._close)

    def _spawn(self, spec: ProcessSpec) -> tuple[int, int]:
        with self._closing:
            if self._closed.is_set():
                raise Unavailable("the lease of this machine ran out: nobody had renewed it")
            try:
                handle = self._launcher.spawn(spec)
            except OSError as error:  # no memory, no process id
                raise Unavailable(f"{spec.name} cannot be started: {error}") from error
            self._handles.append(handle)
            return len(self._handles) - 1, handle.pid

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            if time.monotonic() - self._renewed > LEASE_SECONDS:
                self._close()

    def _close(self) -> None:
        with self._closing:
            if not self._closed.is_set():
                self._launcher.close()
                self._closed.set()


def _spent(pid: int) -> tuple[float, float]:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        times = [one.cpu_times() for one in family]
        return sum(t.user + t.system for t in times), sum(one.memory_info().rss for one in family) / 2**20
    except psutil.Error:
        return 0.0, 0.0


def _ask(address: str, question: bytes) -> bytes:
    with Client(address) as connection:
        connection.send_bytes(question)
        return connection.recv_bytes()


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
