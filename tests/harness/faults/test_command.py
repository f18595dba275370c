"""``lab faults`` as a command: what it writes, and that nothing stays behind when it is interrupted."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harness.faults.session import SCENARIOS
from lab.bootstrap import ROOT
from tests.eventually import eventually

SECONDS = 90.0
INTERRUPTED = 130


def started(*options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.faults", *options]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


@pytest.mark.slow
@pytest.mark.usefixtures("brokers")  # where there are none the command cannot run either
def test_an_interrupted_run_ends_all_it_started_and_keeps_its_results(tmp_path: Path) -> None:
    with started("--scenario", "kills", "--only", "xmlrpc", "--results", str(tmp_path)) as command:
        try:
            own = psutil.Process(command.pid)
            eventually(lambda: len(own.children(recursive=True)) > 8, within=SECONDS)
            children = own.children(recursive=True)
            command.send_signal(signal.SIGINT)
            said = command.communicate(timeout=SECONDS)[1]
        finally:
            command.kill()
    assert command.returncode == INTERRUPTED, said[-2000:]
    assert "Interrupted: what was measured until then is kept." in said
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    run = json.loads((tmp_path / "latest" / "run.json").read_text(encoding="utf-8"))
    assert run["configuration"]["scenarios"] == ["kills"]
    assert (tmp_path / "latest" / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--scenario", "kill"], "no scenario 'kill'; there are kills, frozen"),
        (["--only", "pyro5"], "no middleware 'pyro5'; there are xmlrpc"),
        (["--soak", "0s"], "'0s' is too short"),
    ],
)
def test_wrong_usage_is_one_clear_line(options: list[str], said: str) -> None:
    with started(*options) as command:
        error = command.communicate(timeout=SECONDS)[1]
    assert command.returncode == 2
    assert said in error
    assert "Traceback" not in error


def test_every_scenario_says_what_it_promises() -> None:
    for name, scenario in SCENARIOS.items():
        assert name == scenario.name
        assert len(scenario.promise.split()) > 3
        assert 0 < scenario.seconds < scenario.full_seconds
