"""Where a pool is found: a socket that only this user can reach, named after broker and namespace."""

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lab.errors import LabError, Overloaded, Unavailable, error_from

ANSWER_SECONDS = 10.0
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
    """Return a socket that listens at *path*, which is ours: whoever listened there was killed."""
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
    """A connection to a pool. Unavailable where none answers."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))  # without a timeout: with one, a queue of others is an error
            self._socket.settimeout(ANSWER_SECONDS)
        except OSError as error:
            self._socket.close()
            raise Unavailable(f"no pool of workers answers at {path}") from error
        self._lines = self._socket.makefile("rb")

    def ask(self, do: str, **arguments: object) -> dict[str, object]:
        """Return the pool's answer to *do*, or raise the LabError that it is."""
        try:
            self._socket.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
            answer = json.loads(self._lines.readline(MOST_BYTES))
        except (OSError, ValueError) as error:
            raise Unavailable("the pool of workers does not answer any more") from error
        failure = answer.get("error")
        if failure:
            raise _failure(failure)
        return dict(answer)

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def _failure(failure: dict[str, str]) -> LabError:
    return error_from(failure["code"], failure["message"])


def _folder() -> Path:
    """Return our folder for sockets, made if need be; Unavailable if it is somebody else's."""
    folder = Path(tempfile.gettempdir()) / f"lab-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise Unavailable(f"{folder} is not a folder of yours alone; remove it, or set TMPDIR")
    return folder
