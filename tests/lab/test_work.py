"""The hooks of the fault lab: they do what they say, and nothing where nobody asks for them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from lab.bootstrap import ROOT
from lab.work import fault_hook

WORK = "from lab.work import fault_hook as r; n = r(); n('t1 hello'); n('t2 arsenic'); n('t3')"


def worked(path: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Let a process work on three texts."""
    environment = {**os.environ, "LAB_WORKED": str(path), **variables}
    return subprocess.run([sys.executable, "-c", WORK], cwd=ROOT, env=environment, timeout=30, check=False)


def test_without_variables_there_is_nothing_to_call() -> None:
    assert fault_hook() is None


def test_the_first_word_of_each_text_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "worked"
    assert worked(path).returncode == 0
    assert path.read_text().split() == ["t1", "t2", "t3"]


def test_a_poisoned_text_ends_its_process_at_once_and_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "worked"
    assert worked(path, LAB_POISON="arsenic").returncode == -signal.SIGKILL
    assert path.read_text().split() == ["t1", "t2"]
