"""The first start, when nothing is there but Python: every test has a copy of the lab of its own."""

import ast
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest

from lab.bootstrap import ROOT

COMMAND = """
import sys

def up(argv):
    print(sys.prefix)
    return 0
"""


class Clone:
    """A copy of the lab that requires one small package, which pip finds beside it, without a network."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a clone"
        self.venv = self.root / ".venv"
        self.wheels = folder / "wheels"  # a place without a space: pip would take it for two
        self.wheels.mkdir()
        self.first_runs: list[tuple[str, str, int]] = []
        shutil.copytree(ROOT / "lab", self.root / "lab", ignore=shutil.ignore_patterns("__pycache__"))
        (self.root / "lab" / "cli" / "brokers.py").write_text(COMMAND)
        self.require("1.0")

    def require(self, release: str) -> None:
        """Require *release* of the package, and publish it."""
        (self.root / "requirements.txt").write_text(f"labprobe=={release}\n")
        name = f"labprobe-{release}"
        with ZipFile(self.wheels / f"{name}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.dist-info/METADATA", f"Name: labprobe\nVersion: {release}\n")
            wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{name}.dist-info/RECORD", "")

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start ``python -m lab up``, which here prints where it runs."""
        quiet = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "LAB_"))}
        return subprocess.Popen(
            [sys.executable, "-m", "lab", *(arguments or ["up"])],
            cwd=self.root,
            env={**quiet, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run it to its end; return exit code, output and messages."""
        process = self.start(*arguments)
        output, messages = process.communicate()
        return process.returncode, output.strip(), messages

    def installed(self) -> str:
        """Return the release that is installed in its environment."""
        [folder] = self.venv.glob("lib/*/site-packages/labprobe-*.dist-info")
        return folder.name.split("-")[1].removesuffix(".dist")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A clone that was never started."""
    return Clone(tmp_path)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone that two processes started at once, after a start that was interrupted while it made ``.venv``.

    To make an environment takes ten seconds, so the tests share one.
    """
    clone = Clone(tmp_path_factory.mktemp("started"))
    (clone.venv / "bin").mkdir(parents=True)
    (clone.venv / "bin" / "python").write_text("half of it")
    (clone.venv / "unfinished").touch()
    processes = [clone.start(), clone.start()]
    clone.first_runs = [(*process.communicate(), process.returncode) for process in processes]
    return clone


def test_two_first_starts_at_once_both_run_in_the_new_environment(started: Clone) -> None:
    assert [(output, code) for output, _, code in started.first_runs] == [(f"{started.venv}\n", 0)] * 2


def test_two_first_starts_at_once_install_once(started: Clone) -> None:
    assert sum(messages.count("installing") for _, messages, _ in started.first_runs) == 1


def test_an_environment_whose_making_was_interrupted_is_made_again(started: Clone) -> None:
    assert not (started.venv / "unfinished").exists()
    assert (started.venv / "bin" / "python").read_bytes()[:4] != b"half"


def test_a_second_start_installs_nothing(started: Clone) -> None:
    assert started.run() == (0, str(started.venv), "")


def test_changed_requirements_are_installed(started: Clone) -> None:
    started.require("2.0")
    assert started.run()[0] == 0
    assert started.installed() == "2.0"


def test_an_environment_of_somebody_else_is_never_deleted(clone: Clone) -> None:
    clone.venv.mkdir()
    (clone.venv / "theirs").touch()
    code, _, messages = clone.run()
    assert (code, (clone.venv / "theirs").exists()) == (1, True)
    assert "delete it and try again" in messages


def test_an_interpreter_that_has_everything_is_used_as_it_is(clone: Clone) -> None:
    (clone.root / "requirements.txt").write_text(f"pytest=={version('pytest')}\n")
    assert clone.run() == (0, sys.prefix, "")


def test_what_pip_cannot_install_is_said_with_the_fix_and_tried_again(started: Clone) -> None:
    (started.root / "requirements.txt").write_text("labprobe==9.9\n")
    code, _, messages = started.run()
    started.require("3.0")
    assert code == 1
    assert messages.splitlines()[-1].startswith("lab: pip could not install requirements.txt")
    assert started.run()[0] == 0


@pytest.mark.parametrize("release", [(3, 7), (3, 10)])
def test_an_older_python_reads_a_sentence_not_a_syntax_error(release: tuple[int, int]) -> None:
    source = (ROOT / "lab" / "__init__.py").read_text(encoding="utf-8")  # read before any other file of it
    tree = ast.parse(source, feature_version=release)
    refusal = next(place for place, node in enumerate(tree.body) if isinstance(node, ast.If))
    imports = [place for place, node in enumerate(tree.body) if isinstance(node, ast.ImportFrom)]
    assert all(place > refusal for place in imports)


def test_an_unknown_command_is_wrong_usage_and_names_the_nearest(clone: Clone) -> None:
    code, _, messages = clone.run("tset")
    assert (code, messages) == (2, "lab: no command 'tset'; did you mean test?\n")


def test_the_help_names_every_command_and_installs_nothing(clone: Clone) -> None:
    code, output, messages = clone.run("--help")
    assert (code, messages, clone.venv.exists()) == (0, "", False)
    assert {"run", "test", "check", "up", "down", "doctor"} <= set(output.split())
