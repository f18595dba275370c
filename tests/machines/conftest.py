"""A Dask scheduler and workers as processes, one at each address. Dask is optional."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Self

import pytest

from lab.addresses import free_port, is_open
from lab.bootstrap import ROOT
from lab.settings import settings
from tests.eventually import eventually

collect_ignore: list[str] = []
if importlib.util.find_spec("distributed") is None:
    if settings().require_brokers:
        pytest.exit("tests/machines need Dask: pip install -r requirements-cluster.txt", 1)
    print("tests/machines skipped: pip install -r requirements-cluster.txt")
    collect_ignore += ["test_launcher.py", "test_hosts.py"]

START_SECONDS = 60.0
UNDER_PARENT = (sys.executable, "-m", "lab.process.launcher", str(os.getpid()), "SIGKILL", sys.executable)


class Dask:
    """A scheduler at *host*; a context manager."""

    def __init__(self, host: str) -> None:
        port = free_port(host)
        self.url = f"tcp://{host}:{port}"
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._stack = ExitStack()
        self._scratch = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-dask-"))
        self._start("-m", "lab", "machine", "--scheduler", "--host", host, "--port", str(port))
        eventually(lambda: is_open(port, host), START_SECONDS)  # workers do not wait for it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def add_worker(self, host: str, place: AbstractContextManager[object] | None = None) -> None:
        """Start a worker at *host*, in *place* (a namespace)."""
        with place or nullcontext():
            self.workers[host] = self._start("-m", "lab", "machine", self.url, "--host", host)

    def add_foreign_worker(self, host: str, folder: Path) -> None:
        """Start a worker in *folder*, where other code of the lab is."""
        options = ("--nworkers", "1", "--nthreads", "1", "--no-nanny", "--no-dashboard")
        self._start("-m", "dask", "worker", self.url, "--host", host, *options, folder=folder)

    def wait(self, workers: int) -> Self:
        """Wait until there are so many *workers*."""
        from distributed import Client  # optional

        with Client(self.url, timeout=START_SECONDS, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            if workers:
                client.wait_for_workers(workers, timeout=START_SECONDS)
        return self

    def _start(self, *arguments: str, folder: Path = ROOT) -> "subprocess.Popen[bytes]":
        # All of it: what is killed at the end cannot remove what it made.
        environment = {**os.environ, "DASK_TEMPORARY_DIRECTORY": self._scratch, "TMPDIR": self._scratch}
        process = subprocess.Popen(
            [*UNDER_PARENT, *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process
