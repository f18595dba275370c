"""``lab serve`` as a command: it keeps its system up, and leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest

from lab.bootstrap import ROOT
from xmlrpc.topology import FILTER_PORT

pytestmark = pytest.mark.usual_ports

FAILED, INTERRUPTED = 1, 130
SECONDS = 30


class Serve:
    """A running ``lab serve``."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def line(self, pattern: str) -> "re.Match[str]":
        """Return the match of the next line that has *pattern*."""
        for line in self.process.stderr or ():
            if found := re.search(pattern, line):
                return found
        pytest.fail(f"ended with {self.process.wait()} without saying {pattern!r}")

    def end(self, how: signal.Signals) -> int:
        """Send it *how*; return its exit code, once its processes are gone."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(how)
        code = self.process.wait(SECONDS)
        assert not [child for child in children if child.is_running()]
        return code


@contextmanager
def serve(*options: str) -> Iterator[Serve]:
    command = [sys.executable, "-m", "lab", "serve", *options]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Serve(process)
        finally:
            process.terminate()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_killed_node_is_said_and_there_again_and_nothing_is_left_at_the_end(how: signal.Signals) -> None:
    with serve("xmlrpc", "filter", "--free-ports") as served:
        pid = int(served.line(r"^node .*\(process (\d+)\)")[1])
        served.line("Ctrl-C ends it")
        os.kill(pid, signal.SIGKILL)
        served.line(rf"^node \(process {pid}\) was killed by SIGKILL; starting it again at once")
        new = int(served.line(r"^node serves again after .* \(process (\d+)\)")[1])
        assert psutil.Process(new).is_running()
        assert served.end(how) == INTERRUPTED


def test_without_restarts_it_ends_with_its_last_process() -> None:
    with serve("xmlrpc", "filter", "--free-ports", "--no-restart") as served:
        pid = int(served.line(r"^node .*\(process (\d+)\)")[1])
        served.line("Ctrl-C ends it")
        os.kill(pid, signal.SIGKILL)
        served.line("was killed by SIGKILL; its last words")
        assert served.process.wait(SECONDS) == FAILED


def test_a_taken_port_is_one_line_that_says_what_to_do() -> None:
    with ExitStack() as stack:
        with suppress(OSError):  # taken by another system already
            stack.enter_context(socket.create_server(("127.0.0.1", FILTER_PORT)))
        served = stack.enter_context(serve("xmlrpc", "filter"))
        said = served.process.communicate(timeout=SECONDS)[1].splitlines()
    assert len(said) == 1
    assert f"cannot listen on 127.0.0.1:{FILTER_PORT}" in said[0]
    assert "--free-ports" in said[0]
    assert served.process.returncode == FAILED
