"""Find the pool of a namespace, or start one that outlives who started it."""

import os
import selectors
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dynamic.pool_socket import PoolClient
from lab.errors import Unavailable
from lab.launcher import READY_SECONDS, ROOT

GIVEN_UP = "the pool of workers did not start; its last words are above"


def find_or_start(path: Path, arguments: Sequence[str]) -> tuple[PoolClient, bool]:
    """Return a connection to the pool at *path*, and whether it ran already; *arguments*: for a new one."""
    try:
        return PoolClient(path), True
    except Unavailable:
        _start(arguments)
        return PoolClient(path), False


def _start(arguments: Sequence[str]) -> None:
    """Start a pool and wait until it listens. Its log goes where ours does."""
    environment = {name: value for name, value in os.environ.items() if name != "LAB_PARENT"}
    process = subprocess.Popen(
        [sys.executable, "-m", "dynamic.pool_process", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,  # neither Ctrl-C nor our end is for the pool
    )
    if process.stdout is None:
        raise Unavailable(GIVEN_UP)
    with selectors.DefaultSelector() as selector, process.stdout as stdout:
        selector.register(stdout, selectors.EVENT_READ)
        if not selector.select(READY_SECONDS) or not stdout.readline().startswith(b"{"):
            process.kill()
            process.wait()
            raise Unavailable(GIVEN_UP)
