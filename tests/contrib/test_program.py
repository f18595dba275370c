"""The example's one program has every role of a system, and each can be started by hand."""

import subprocess
import sys

import pytest

from contrib.sockets import InsultServiceClient
from lab.bootstrap import ROOT
from lab.contract import Target
from lab.process.launcher import LocalLauncher, ProcessSpec


@pytest.mark.parametrize("role", ["master", "broadcaster", "service", "filter", "subscriber"])
def test_a_role_tells_its_options(role: str) -> None:
    words = [sys.executable, "-m", "contrib.sockets", role, "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--namespace" in done.stdout


def test_a_subscriber_prints_what_a_node_broadcasts() -> None:
    arguments = ("service", "--port", "0", "--interval", "100ms")
    with LocalLauncher() as launcher:
        node = launcher.start(ProcessSpec("service", "contrib.sockets", arguments))
        with InsultServiceClient(Target(node.address)) as client:
            client.add_insult("tonto")
            client.start_broadcast()
        words = [sys.executable, "-m", "contrib.sockets", "subscriber", "--address", node.address]
        done = subprocess.run(
            [*words, "--count", "2"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tonto") == 2
