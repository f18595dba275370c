"""``lab doctor`` says what is here and what is missing, ``lab test`` and ``lab check`` what fails."""

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.addresses import is_open
from lab.bootstrap import PYTHON, ROOT, VENV, pins
from lab.brokers import located, rabbitmq_broker, rabbitmq_server, redis_broker, redis_server
from lab.brokers.provide import RABBITMQ_FIX, REDIS_FIX
from lab.brokers.state import described, listeners, lock_holders
from lab.cli.brokers import brokers, child_environment, say
from lab.cli.commands import Terminated
from lab.cli.leftovers import leftovers
from lab.errors import Unavailable
from lab.options import Parser, duration, install_without_asking
from lab.process.launcher import usable_cores
from lab.settings import Settings, settings

IDLE_SECONDS = 3600.0
RESULTS = ROOT / "results"
LITTLE_ROOM = 2**30
GOOD, NOTE, MISSING = "good", "note", "MISSING"
PORTS = {
    "ports of XML-RPC": (
        range(8000, 8011),
        "a node takes the next free one; give a master another by --port",
    ),
    "port of Pyro4's names": (range(9090, 9091), "give the name server another by --port"),
    "port of Redis": (range(6379, 6380), ""),
    "port of RabbitMQ": (range(5672, 5673), ""),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: *state* is GOOD, NOTE (worth knowing) or MISSING (something will not run)."""

    what: str
    state: str
    detail: str
    fix: str = ""


def main(argv: list[str]) -> int:
    """Print a row for everything that is needed; return 1 if something is missing."""
    parser = Parser(
        prog="python3 -m lab doctor", description="What is here, what is missing, and how to get it."
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--sweep", action="store_true", help="remove what killed runs left behind")
    parser.add_argument(
        "--idle",
        type=duration,
        default=IDLE_SECONDS,
        metavar="TIME",
        help="unused for that long (default 1h)",
    )
    arguments = parser.parse_args(argv)
    if arguments.sweep:
        _sweep(settings(), arguments.idle)
    rows = findings(settings(), arguments.idle)
    print(json.dumps([asdict(row) for row in rows], indent=2) if arguments.json else _table(rows))
    return 1 if any(row.state == MISSING for row in rows) else 0


def _sweep(known: Settings, idle_seconds: float) -> None:
    """Remove what nobody uses: processes first, as they hold the rest. Never remove what is not ours."""
    for leftover in leftovers(known, idle_seconds):
        say(f"removing {leftover.what}")
        leftover.remove()


def _table(rows: list[Finding]) -> str:
    width = max(len(row.what) for row in rows)
    lines = []
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        lines.append(f"{row.what:{width}}  {row.state:7}  {row.detail}")
        if row.fix and not (following and following.fix == row.fix):
            lines.append(f"{'':{width}}  {'':7}  -> {row.fix}")
    return "\n".join(lines)


def findings(known: Settings, idle_seconds: float) -> list[Finding]:
    """Look at everything the lab needs, and at what killed runs left unused for *idle_seconds*."""
    rows = [_python(), *_requirements(), _redis(known), _rabbitmq(known)]
    who = listeners()
    rows += [_ports(what, *expected, who) for what, expected in PORTS.items()]
    return [*rows, _results(), _lock(), *_leftovers(known, idle_seconds)]


def _python() -> Finding:
    version = sys.version.split()[0]
    if Path(sys.prefix) == VENV:
        return Finding("Python", GOOD, f"{version} in .venv")
    if VENV.exists() and not os.path.exists(PYTHON):  # a dangling link, or one to where we may not look
        detail = f"{version} in {sys.executable}, but that of {VENV} is gone; was it upgraded?"
        return Finding("Python", MISSING, detail, f"delete {VENV} and run any command: it is made again")
    return Finding("Python", GOOD, f"{version} in {sys.executable}, which has what is needed")


def _requirements() -> list[Finding]:
    rows = []
    for name, wanted in pins(ROOT / "requirements.txt"):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        good = version == wanted
        fix = "" if good else f"delete {VENV} and run any command: it is made again"
        rows.append(Finding(name, GOOD if good else MISSING, version or "not installed", fix))
    return rows


def _redis(known: Settings) -> Finding:
    try:
        if located("redis", known, lasting=True):
            broker = redis_broker(known)
            weak = "WEAK" in broker.guarantees
            fix = "CONFIG SET appendonly yes and appendfsync always, or use `python3 -m lab up`"
            return Finding("Redis", NOTE if weak else GOOD, broker.describe(), fix if weak else "")
    except Unavailable as error:
        return Finding("Redis", MISSING, error.message)
    path = redis_server.binary()
    return _startable("Redis", path, "the first run installs one that needs no root; or " + REDIS_FIX)


def _rabbitmq(known: Settings) -> Finding:
    try:
        if located("rabbitmq", known, lasting=True):
            return Finding("RabbitMQ", GOOD, rabbitmq_broker(known).describe())
    except Unavailable as error:
        return Finding("RabbitMQ", MISSING, error.message)
    return _startable("RabbitMQ", rabbitmq_server.script(), RABBITMQ_FIX)


def _startable(what: str, path: str, fix: str) -> Finding:
    if not path:
        return Finding(what, MISSING, "not here", fix)
    return Finding(what, GOOD, f"not running; {path} is started privately when it is needed")


def _ports(what: str, ports: range, fix: str, who: Mapping[int, set[int]]) -> Finding:
    taken = [port for port in ports if is_open(port)]
    name = f"{ports.start}-{ports.stop - 1}" if len(ports) > 1 else str(ports.start)
    if not taken:
        return Finding(what, GOOD, f"{name} free")
    return Finding(what, NOTE, "; ".join(f"{port} taken by {_names(who.get(port))}" for port in taken), fix)


def _names(pids: set[int] | None) -> str:
    return " and ".join(described(pid) for pid in sorted(pids)) if pids else "somebody (ask as root)"


def _results() -> Finding:
    """Check that runs can be written, and how much space there is."""
    try:
        with tempfile.TemporaryFile(dir=RESULTS if RESULTS.exists() else ROOT):
            free = shutil.disk_usage(ROOT).free
    except OSError as error:
        detail = f"{RESULTS} cannot be written: {error.strerror}"
        return Finding("results", MISSING, detail, "make it writable, or name another folder by --results")
    detail = f"{free / 2**30:.1f} GiB free"
    if free < LITTLE_ROOM:
        return Finding("results", NOTE, detail, "delete old folders of results/")
    return Finding("results", GOOD, detail)


def _lock() -> Finding:
    holders = lock_holders()
    if not holders:
        return Finding("lock of `up`", GOOD, "free")
    fix = f"wait for it; should it hang: kill {' '.join(map(str, holders))}"
    return Finding("lock of `up`", NOTE, f"held by {_names(set(holders))}", fix)


def _leftovers(known: Settings, idle_seconds: float) -> list[Finding]:
    fix = "python3 -m lab doctor --sweep"
    left = [Finding("left behind", NOTE, one.what, fix) for one in leftovers(known, idle_seconds)]
    return left or [Finding("left behind", GOOD, "nothing")]


WRONG_USAGE_OF_PYTEST = 4
SIDE_BY_SIDE = ["-n", str(max(3, min(4, usable_cores()))), "--dist", "loadfile", "--no-loadscope-reorder"]
"""Tests mostly wait: for brokers, leases, deadlines. A process takes whole files, because the tests of a file
share what they start; tests/conftest.py says which files come first."""
HELP = """usage: python3 -m lab test [--yes] [PYTEST OPTIONS]

Run the functional tests. Redis and RabbitMQ are used where they run, else started privately for the tests;
--yes installs a missing one without asking. The whole of them runs a few at a time.
Whatever follows goes to pytest: `lab test -k rabbitmq`, `lab test tests/lab -x`.
"""


def test(argv: list[str]) -> int:
    """Run pytest with *argv* behind brokers that it finds in its environment."""
    if argv in (["-h"], ["--help"]):
        print(HELP)
        return 0
    options = [argument for argument in argv if argument != "--yes"] or SIDE_BY_SIDE
    if "--yes" in argv:
        install_without_asking()
    with brokers(settings(), frozenset({"redis", "rabbitmq"})) as urls:
        command = [sys.executable, "-m", "pytest", *options]
        code = run_child(command, child_environment(urls))
        return {0: 0, WRONG_USAGE_OF_PYTEST: 2}.get(code, 1)


MIDDLEWARES = ("xmlrpc", "pyro4", "redis_impl", "rabbitmq", "contrib")
PACKAGES = ("lab", *MIDDLEWARES, "dynamic", "harness", "watch", "machines", "tests")
CHECKS = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy", *PACKAGES],
}


def check(argv: list[str]) -> int:
    """Run the checks, all of them even if one fails; end with what passed."""
    parser = Parser(prog="python3 -m lab check", description="Format, lint, types and tests.")
    parser.add_argument("--no-tests", action="store_true", help="leave out the tests")
    arguments = parser.parse_args(argv)
    passed = {name: _passes(command) for name, command in CHECKS.items()}
    if not arguments.no_tests:
        passed["tests"] = test([]) == 0
    for name, good in passed.items():
        print(f"{name:8} {'passed' if good else 'FAILED'}")
    return 0 if all(passed.values()) else 1


def _passes(command: list[str]) -> bool:
    return run_child([sys.executable, "-m", *command]) == 0


CLEAN_UP_SECONDS = 20.0


def run_child(command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run *command* in the root; return its exit code. Interrupted: give it time to clean up, then go on."""
    with subprocess.Popen(command, cwd=ROOT, env=environment) as child:
        try:
            return child.wait()
        except KeyboardInterrupt as interrupt:
            try:
                if isinstance(interrupt, Terminated):
                    child.send_signal(signal.SIGINT)
                child.wait(CLEAN_UP_SECONDS)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                child.kill()
            raise
