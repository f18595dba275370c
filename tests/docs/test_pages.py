"""What the pages name is there: links, commands, options, plots, kinds of bad input, files on a path."""

import re
from collections import defaultdict
from contextlib import redirect_stdout, suppress
from functools import cache
from io import StringIO

import pytest

from harness.experiment.anatomy import counted_calls
from harness.faults.kinds import pyro4, rabbitmq, redis_impl, xmlrpc
from harness.probes.parts import relative
from harness.report.plots import PLOTS
from lab import __version__
from lab.bootstrap import ROOT
from lab.cli.commands import COMMANDS
from lab.errors import Code
from lab.process.system import BrokerUrls

ALL_PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
ALL_PAGES += sorted((ROOT / "docs").rglob("*.md"))
PAGES = ("README.md", "docs/measuring.md", "docs/measuring-reference.md")
COMMAND = re.compile(r"python3 -m lab ([a-z]+)([^`#|\n]*)")
OPTION = re.compile(r"(?<!\S)--[a-z][a-z-]*")
BAD_INPUT = (ROOT / "docs" / "bad-input.md").read_text(encoding="utf-8")
KINDS: dict[str, dict[str, Code]] = {
    "XML-RPC": {name: kind[-1] for name, kind in xmlrpc.KINDS.items()},
    "Pyro4": {name: kind[-1] for name, kind in (pyro4.KINDS | pyro4.FIRST).items()},
    "Redis": {name: kind[-1] for name, kind in redis_impl.KINDS.items()},
    "RabbitMQ": {name: kind[-1] for name, kind in rabbitmq.KINDS.items()}
    | {f"to the control queue: {name}": kind[-1] for name, kind in rabbitmq.CONTROL.items()}
    | {f"to the work queue: {name}": kind[-1] for name, kind in rabbitmq.TEXTS.items()},
}


def test_every_page_leads_to_files_that_exist() -> None:
    for page in ALL_PAGES:
        links = re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", page.read_text(encoding="utf-8"))
        assert [link for link in links if not (page.parent / link).exists()] == [], page


def test_the_files_that_a_page_names_exist() -> None:
    for page in ALL_PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        named = set(re.findall(r"`((?:[\w.*-]+/)+[\w.*-]*)`", text))
        ours = {name for name in named if (ROOT / name.partition("/")[0]).is_dir()}
        ours = {name for name in ours if not name.startswith("results/")}
        assert [name for name in sorted(ours) if not any(ROOT.glob(name.rstrip("/")))] == [], page


def test_the_newest_entry_of_the_changelog_is_for_this_version() -> None:
    entries = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert entries[0] == __version__


def named(page: str) -> dict[str, set[str]]:
    """Return the commands that *page* names, with the options that it names with each."""
    found: dict[str, set[str]] = defaultdict(set)
    for command, rest in COMMAND.findall((ROOT / page).read_text(encoding="utf-8")):
        found[command].update(OPTION.findall(rest))
    return found


@cache
def help_of(command: str) -> str:
    """Return what *command* says of its options."""
    with redirect_stdout(StringIO()) as said, suppress(SystemExit):
        COMMANDS[command].run(["--help"])
    return said.getvalue()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_commands_that_exist(page: str) -> None:
    assert named(page)
    assert set(named(page)) <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES)
def test_a_command_takes_the_options_that_are_named_with_it(page: str) -> None:
    for command, options in named(page).items():
        assert options <= set(re.findall(r"--[a-z][a-z-]*", help_of(command))), command


def test_every_plot_is_explained() -> None:
    page = (ROOT / "docs" / "measuring-reference.md").read_text(encoding="utf-8")
    assert set(PLOTS) <= set(re.findall(r"^- `([a-z-]+)`: ", page, re.M))


@pytest.mark.parametrize("wire", KINDS)
def test_every_kind_of_bad_input_is_listed_under_its_code(wire: str) -> None:
    section = BAD_INPUT.partition(f"\n## {wire}\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    listed = {row[0].strip("| `"): row[-1].strip(" |").split("; ") for row in rows}
    wanted: dict[str, list[str]] = {}
    for name, code in KINDS[wire].items():
        wanted.setdefault(code, []).append(name)
    assert len(KINDS[wire]) >= 40
    assert {code: sorted(names) for code, names in listed.items()} == {
        code: sorted(names) for code, names in wanted.items()
    }


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PATH_FILE = re.compile(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+\.py)`")
MEANWHILE = ("lab/store/", "lab/background.py")
"""A node looks for waiting texts meanwhile: that is on the path of no call of `filter`."""
PATHS = {"xmlrpc": "a direct middleware", "rabbitmq": "an indirect middleware"}


def named_after(start: str) -> set[str]:
    """Return the files that the part of the page after *start* names."""
    return set(PATH_FILE.findall(CONTRIBUTING.partition(start)[2].partition("\n**")[0].partition("\n## ")[0]))


@pytest.mark.parametrize("middleware", PATHS)
def test_a_text_passes_the_files_that_the_page_names_and_no_others(middleware: str, amqp_url: str) -> None:
    passed = set(map(relative, counted_calls(middleware, BrokerUrls(amqp=amqp_url))))
    ours = {path for path in passed if (ROOT / path).exists() and not path.startswith(MEANWHILE)}
    named = named_after(f"**One text through {PATHS[middleware]}**")
    left_out = named_after("**Small steps that these paths leave out.**")
    assert named - ours == set(), "these are not on the path"
    assert ours - named - left_out == set(), "the page does not name these"
