"""Commands of the lab as a person runs them: started, read, interrupted, ended."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import psutil

from lab.bootstrap import ROOT
from tests.eventually import eventually

SECONDS = 120.0
RESULT = re.compile(r"^    .* requests, .*/s", re.MULTILINE)
"""What progress says of a window."""


class Command:
    """A command that runs in a session of its own, and what it said so far."""

    def __init__(self, redis_url: str, namespace: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lab", *arguments],
            cwd=ROOT,
            env={**os.environ, "LAB_REDIS_URL": redis_url, "LAB_NAMESPACE": namespace},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def said(self) -> str:
        """What it wrote to standard error."""
        return "".join(self._lines)

    def says(self, pattern: "re.Pattern[str]") -> "re.Match[str]":
        """Wait until it says *pattern*."""

        def look() -> "re.Match[str] | None":
            assert self._process.poll() is None, self.said
            return pattern.search(self.said)

        found = eventually(look, within=SECONDS)
        assert found
        return found

    def family(self) -> list[psutil.Process]:
        """Return it and all that it started, and what these started."""
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def kill(self) -> None:
        """End it and all that it started at once: it can write nothing any more."""
        for one in self.family():
            one.kill()

    def interrupt(self) -> None:
        """Do what Ctrl-C does: the terminal tells all processes of the foreground."""
        os.killpg(self._process.pid, signal.SIGINT)

    def terminate(self) -> None:
        """Do what `kill` does: one process is told."""
        self._process.terminate()

    def ends(self) -> int:
        """Wait for its end; return the exit code."""
        code = self._process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code

    def close(self) -> None:
        """End it if a test failed before it did."""
        if self._process.poll() is None:
            self.terminate()
            self.ends()

    def _read(self) -> None:
        assert self._process.stderr
        with self._process.stderr as pipe:
            for line in pipe:
                self._lines.append(line)


Start = Callable[..., Command]
