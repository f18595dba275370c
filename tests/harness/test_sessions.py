"""Experiments and systems as commands, from their start to their end, also when somebody interrupts them."""

import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harness.record.journal import read_run
from harness.record.run import Run
from lab.bootstrap import ROOT
from tests.eventually import eventually
from tests.harness.commands import RESULT, SECONDS, Start

pytestmark = pytest.mark.slow


def all_gone(family: list[psutil.Process]) -> bool:
    """Tell whether none of *family* runs any more."""
    return not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def record_of(results: Path) -> Run:
    """Read the record of the newest run."""
    return read_run(results / "latest" / "run.json")


def test_an_interrupted_run_keeps_what_was_measured_and_leaves_no_process(
    start: Start, tmp_path: Path
) -> None:
    command = start("run", "--only", "xmlrpc", "--results", str(tmp_path))
    command.says(RESULT)
    family = command.family()
    command.interrupt()
    assert command.ends() == 130, command.said
    assert "Traceback" not in command.said
    run = record_of(tmp_path)
    assert run.points
    assert any(note.startswith("Interrupted") for note in run.notes)
    assert "Interrupted" in (tmp_path / "latest" / "report.html").read_text(encoding="utf-8")
    assert len(family) > 1
    eventually(lambda: all_gone(family))


def test_a_served_system_is_talked_to_and_ends_whole(start: Start) -> None:
    command = start("serve", "xmlrpc", "service", "--free-ports", "--nodes", "2")
    words = command.says(re.compile(r"another terminal: python3 -m lab (shell .*)$", re.MULTILINE))[1].split()
    family = command.family()
    insult = "you rusty spoon"
    shell = subprocess.run(
        [sys.executable, "-m", "lab", *words],
        cwd=ROOT,
        input=f"add {insult}\nadd {insult}\nlist\ninsult\nremove {insult}\n",
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    expected = ["stored", "it was there already", insult, insult, "removed"]
    assert (shell.returncode, shell.stdout.splitlines(), shell.stderr) == (0, expected, "")
    command.terminate()
    assert command.ends() == 130, command.said
    assert command.said.splitlines()[-1] == "lab: interrupted; everything started is ended"
    assert len(family) >= 4  # itself, a master, two nodes
    eventually(lambda: all_gone(family))


def test_a_comparison_ends_with_a_verdict_or_says_why_there_is_none(start: Start, tmp_path: Path) -> None:
    sides = ("xmlrpc", "xmlrpc:in_flight=1")
    short = ("--blocks", "3", "--seconds", "0.3s", "--results", str(tmp_path))
    command = start("compare", *sides, *short)
    code = command.ends()
    points = record_of(tmp_path).of("compare")
    assert [(point.block, point.setting) for point in points] == [
        (block, f"{turn}: {side}")
        for block in range(3)
        for turn, side in (("A", sides[0]), ("B", sides[1]), ("A again", sides[0]))
    ]
    if all(point.is_valid for point in points):
        assert re.search(r"^xmlrpc:in_flight=1 against xmlrpc: \w+.* 3 blocks", command.said, re.MULTILINE)
        assert code == 0
    else:  # a noisy machine
        assert "no verdict" in command.said
        assert code == 1
