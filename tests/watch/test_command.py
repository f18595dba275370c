"""The command line of `lab watch`: what is wrong is told in a line."""

import socket
import subprocess
import sys

import pytest

from lab.bootstrap import ROOT
from watch.system import MOST_NODES


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["redis_impl", "filter", "--nodes", "500"], f"from 1 to {MOST_NODES}"),
        (["redis_impl", "filter", "--policy", "hpa"], "means nothing to redis_impl"),
        (["dynamic", "filter"], "means nothing to dynamic"),
        (["redis_impl", "service", "--work-time", "1ms"], "means nothing to the service"),
        (["redis_impl", "--rate", "nan"], "not a rate"),
        (["soap"], "invalid choice"),
    ],
)
def test_a_wrong_command_line_is_told(options: list[str], said: str) -> None:
    ended = watch(*options)
    assert ended.returncode == 2
    assert said in ended.stderr


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = watch("redis_impl", "--port", str(listener.getsockname()[1]))
    assert ended.returncode == 1
    assert "cannot listen" in ended.stderr
    assert "Traceback" not in ended.stderr


def watch(*options: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    command = [sys.executable, "-m", "lab", "watch", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
