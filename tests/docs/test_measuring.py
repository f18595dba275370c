"""Each ``python3 -m lab`` command that README and the pages on measuring name exists, with its options."""

import re
import subprocess
import sys
from collections import defaultdict
from functools import cache

import pytest

from harness.report.plots import PLOTS
from lab.bootstrap import ROOT
from lab.cli.commands import COMMANDS

PAGES = ("README.md", "docs/measuring.md", "docs/measuring-reference.md")
COMMAND = re.compile(r"python3 -m lab ([a-z]+)([^`#|\n]*)")
OPTION = re.compile(r"(?<!\S)--[a-z][a-z-]*")
TIMEOUT_SECONDS = 60


def named(page: str) -> dict[str, set[str]]:
    """Return the commands that *page* names, with the options that it names with each."""
    found: dict[str, set[str]] = defaultdict(set)
    for command, rest in COMMAND.findall((ROOT / page).read_text(encoding="utf-8")):
        found[command].update(OPTION.findall(rest))
    return found


@cache
def help_of(command: str) -> str:
    """Return what *command* says of its options."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_SECONDS,
    )
    return done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_commands_that_exist(page: str) -> None:
    assert named(page)
    assert set(named(page)) <= set(COMMANDS)


@pytest.mark.parametrize(
    ("page", "command"), [(page, command) for page in PAGES for command in sorted(named(page))]
)
def test_a_command_takes_the_options_that_are_named_with_it(page: str, command: str) -> None:
    known = set(re.findall(r"--[a-z][a-z-]*", help_of(command)))
    assert named(page)[command] <= known


def test_every_plot_is_explained() -> None:
    page = (ROOT / "docs" / "measuring-reference.md").read_text(encoding="utf-8")
    assert set(PLOTS) <= set(re.findall(r"^- `([a-z-]+)`: ", page, re.M))
