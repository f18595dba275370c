"""Find the pool of a namespace, or start one that outlives who started it."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dynamic.pool_socket import PoolClient, lock_path
from lab.errors import Unavailable
from lab.limits import DRAIN_SECONDS
from lab.process.launcher import READY_SECONDS, ROOT, first_line

OTHER_SECONDS = 5.0
"""For a pool that somebody else just starts, to listen."""

GIVEN_UP = "the pool of workers did not start; its last words are above"


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
        [sys.executable, "-m", "dynamic.pool_process", *arguments],
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
    """Return a connection to the pool that was started by somebody else at the same time as ours."""
    deadline = time.monotonic() + OTHER_SECONDS
    while lock_path(path).exists() and time.monotonic() < deadline:
        with suppress(Unavailable):
            return PoolClient(path)
        time.sleep(0.05)
    raise Unavailable(GIVEN_UP)
