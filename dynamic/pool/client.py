"""Find or start the pool of a namespace, with its options, and talk to it.

Its socket can be reached by this user only.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from dynamic.pool.status import PoolStatus
from lab.contract import Architecture
from lab.errors import Overloaded, Unavailable, error_from
from lab.limits import DRAIN_SECONDS
from lab.options import add_filter_options, interval, whole_number
from lab.process.launcher import READY_SECONDS, ROOT, first_line
from lab.settings import settings

MOST_WORKERS = 1000
ORPHAN_SECONDS = 60.0
DEFAULT_PREFETCH = 1
"""An event waits in the queue, where the next idle worker takes it, never behind a busy one."""
ANSWER_SECONDS = 10.0
OTHER_SECONDS = 5.0
"""For a pool that another controller just starts, to listen."""
MOST_BYTES = 1 << 20
LONGEST_PATH = 103
"""Bytes: of a socket, on macOS; Linux allows a few more."""


def socket_path(url: str, namespace: str) -> Path:
    """Return the path of the socket of the pool for *namespace* on the broker at *url*."""
    name = hashlib.sha256(f"{url}\0{namespace}".encode()).hexdigest()[:16]
    path = _folder() / f"pool-{name}.sock"
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise Unavailable(f"{path} is too long for a socket; set TMPDIR to a shorter one")
    return path


def lock_path(path: Path) -> Path:
    """Return the path of the lock that a pool with its socket at *path* holds."""
    return path.with_suffix(".lock")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock for the socket at *path*; remove both afterwards. Overloaded if another pool holds it."""
    lock = lock_path(path)
    with lock.open("w") as held, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as name:
        for each in (held, name):  # workers are forked, and may live a moment longer than their pool
            os.register_at_fork(after_in_child=each.close)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_gone = not lock.exists() or lock.stat().st_ino != os.fstat(held.fileno()).st_ino
            if sys.platform == "linux":  # one name for the host: the folder differs with user and TMPDIR
                name.bind(f"\0lab-{path.stem}")
        except OSError:
            is_gone = True
        if is_gone:
            raise Overloaded("a pool of workers serves this namespace already, or is just ending")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)


def listening(path: Path) -> socket.socket:
    """Return a socket that listens at *path*: the pool that listened there was killed."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    try:
        listener.bind(str(path))
        listener.listen(socket.SOMAXCONN)
    except OSError as error:
        raise Unavailable(f"no socket can be made at {path}: {error}; set TMPDIR") from error
    listener.setblocking(False)
    return listener


class PoolClient:
    """A connection to a pool. Each request is one round trip. Unavailable where no pool answers."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))  # without a timeout: with one, a queue of others is an error
            self._socket.settimeout(ANSWER_SECONDS)
        except OSError as error:
            self._socket.close()
            raise Unavailable(f"no pool of workers answers at {path}") from error
        self._lines = self._socket.makefile("rb")

    def status(self) -> PoolStatus:
        """Return what the pool knows of its workers."""
        return self._ask("status")

    def take_control(self) -> PoolStatus:
        """Become the controller of the pool; Overloaded if another client is."""
        return self._ask("control")

    def scale(self, wanted: int) -> PoolStatus:
        """Keep *wanted* workers, at most the pool's bound; the caller becomes the controller."""
        return self._ask("scale", wanted=wanted)

    def slow_down(self, factor: float) -> PoolStatus:
        """Let work take *factor* times as long as declared."""
        return self._ask("slow", factor=factor)

    def dismiss(self) -> PoolStatus:
        """Let all workers finish what they have; the pool ends after them. A second call changes nothing."""
        return self._ask("dismiss")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def _ask(self, do: str, **arguments: float) -> PoolStatus:
        try:
            self._socket.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
            answer = json.loads(self._lines.readline(MOST_BYTES))
        except (OSError, ValueError) as error:
            raise Unavailable("the pool of workers does not answer any more") from error
        failure = answer.get("error")
        if failure:
            raise error_from(failure["code"], failure["message"])
        try:
            return PoolStatus.from_fields(answer)
        except (TypeError, KeyError) as error:
            raise Unavailable("the pool of workers is of another version; end it first") from error


def find_or_start(path: Path, arguments: Sequence[str]) -> tuple[PoolClient, bool]:
    """Return a connection to the pool at *path*, and whether it ran already; *arguments*: for a new one."""
    try:
        return PoolClient(path), True
    except Unavailable:
        if not _start(arguments):
            return _other(path), True
        return PoolClient(path), False


def _start(arguments: Sequence[str]) -> bool:
    """Start a pool and wait until it listens; False if it does not. Its log goes where ours does."""
    environment = {name: value for name, value in os.environ.items() if name != "LAB_PARENT"}
    process = subprocess.Popen(
        [sys.executable, "-m", "dynamic.pool", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,  # neither Ctrl-C nor our end is for the pool
    )
    is_ready = False
    try:
        with process.stdout or open(os.devnull, "rb") as stdout:
            line = first_line(stdout, READY_SECONDS)
            is_ready = line is not None and line.startswith(b"{")
    finally:  # a signal may have come too
        if not is_ready:
            _end(process)
    return is_ready


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(DRAIN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _other(path: Path) -> PoolClient:
    """Return a connection to the pool that another controller started at the same time as ours."""
    deadline = time.monotonic() + OTHER_SECONDS
    while lock_path(path).exists() and time.monotonic() < deadline:
        with suppress(Unavailable):
            return PoolClient(path)
        time.sleep(0.05)
    raise Unavailable("the pool of workers did not start; its last words are above")


def _folder() -> Path:
    """Return our folder for sockets, and make it if it is missing; Unavailable if it has another owner."""
    folder = Path(tempfile.gettempdir()) / f"lab-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise Unavailable(f"{folder} is not a folder of yours alone; remove it, or set TMPDIR")
    return folder


def add_pool_options(parser: argparse.ArgumentParser) -> None:
    """Add what the pool takes beside a filter node's options."""
    add_filter_options(parser)
    parser.set_defaults(architecture=Architecture.N_NODE)
    parser.add_argument(
        "--max", type=whole_number(1, MOST_WORKERS), default=10, metavar="N", help="most workers"
    )
    parser.add_argument(
        "--spares",
        type=whole_number(0, MOST_WORKERS),
        default=1,
        metavar="N",
        help="connected workers that wait for the next rise",
    )
    parser.add_argument(
        "--prefetch",
        type=whole_number(1, MOST_WORKERS),
        default=DEFAULT_PREFETCH,
        metavar="N",
        help="events under way to a worker",
    )
    parser.add_argument(
        "--queue-type",
        choices=["classic", "quorum"],
        default=settings().queue_type,
        help="kind of the durable queues; publishers follow LAB_QUEUE_TYPE",
    )
    parser.add_argument(
        "--orphan-time",
        type=interval,
        default=ORPHAN_SECONDS,
        metavar="TIME",
        help="workers leave when no controller came for this time",
    )


def pool_arguments(arguments: argparse.Namespace) -> list[str]:
    """Return the command line of the pool that a controller with *arguments* needs."""
    given = [
        *("--namespace", arguments.namespace),
        *("--architecture", arguments.architecture),
        *("--max", str(arguments.max)),
        *("--spares", str(arguments.spares)),
        *("--prefetch", str(arguments.prefetch)),
        *("--queue-type", arguments.queue_type),
        *("--orphan-time", f"{arguments.orphan_time:.6f}s"),
        *("--work-time", f"{arguments.work_time:.6f}s"),
        *("--work-cpu", f"{arguments.work_cpu:.6f}s"),
    ]
    if arguments.insults and arguments.architecture is Architecture.ONE_NODE:
        given += ["--insults", str(arguments.insults.resolve())]
    return given
