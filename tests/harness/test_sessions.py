"""Experiments as commands: what they plan, their start and end, also when somebody interrupts them."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from harness.record.journal import JOURNAL, RECORD, read_run
from harness.record.run import Run
from lab.bootstrap import ROOT
from tests import report
from tests.eventually import eventually

SECONDS = 120.0
RESULT = re.compile(r"^    .* requests, .*/s", re.MULTILINE)
"""What progress says of a window."""


class Command:
    """A command that runs in a session of its own, and what it said so far.

    Its temporary files are in *folder*: one that is killed leaves them there.
    """

    def __init__(self, redis_url: str, namespace: str, folder: Path, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lab", *arguments],
            cwd=ROOT,
            env={**os.environ, "LAB_REDIS_URL": redis_url, "LAB_NAMESPACE": namespace, "TMPDIR": str(folder)},
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


@pytest.fixture
def start(redis_url: str, namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start commands; end those that still run."""
    folder = tmp_path_factory.mktemp("temporary")
    with ExitStack() as stack:

        def start(*arguments: str) -> Command:
            command = Command(redis_url, namespace, folder, *arguments)
            stack.callback(command.close)
            return command

        yield start


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


def test_an_interrupt_while_the_load_generators_begin_prints_no_traceback(
    start: Start, tmp_path: Path
) -> None:
    command = start("stress", "xmlrpc", "--study", "clients", "--results", str(tmp_path))
    command.says(re.compile("what the load generators can do"))
    eventually(lambda: len(command.family()) > 2)  # beside itself and Python's resource tracker
    command.interrupt()
    assert command.ends() == 130, command.said
    assert "Traceback" not in command.said


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


def test_a_comparison_ends_with_a_verdict_and_its_exit_code(start: Start, tmp_path: Path) -> None:
    sides = ("xmlrpc", "xmlrpc:in flight=1")
    short = ("--blocks", "3", "--window", "750ms", "--budget", "1s", "--results", str(tmp_path))
    command = start("compare", *sides, *short)
    code = command.ends()
    run = record_of(tmp_path)
    points = run.of("compare")
    assert [(point.block, point.setting) for point in points[:9]] == [
        (block, f"{turn}: {side}")
        for block in (1, 2, 3)
        for turn, side in (("A", sides[0]), ("B", sides[1]), ("A again", sides[0]))
    ]
    [finding] = run.findings
    assert finding.what == "xmlrpc:in flight=1 against xmlrpc"
    assert code == (3 if finding.verdict == "undecided" else 0), command.said


def test_a_killed_command_leaves_a_journal_that_has_a_report(start: Start, tmp_path: Path) -> None:
    options = ("--architecture", "one-node", "--study", "clients", "--seconds", "0.6s")
    command = start("stress", "xmlrpc", *options, "--results", str(tmp_path))
    command.says(RESULT)
    eventually(lambda: "points" in (tmp_path / "latest" / JOURNAL).read_text(encoding="utf-8"))
    command.kill()
    command.ends()
    assert report.main([str(tmp_path / "latest")]) == 0
    assert read_run(tmp_path / "latest" / RECORD).points
