"""``lab test`` and ``lab check``: everything that a change must pass."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from lab.bootstrap import ROOT
from lab.cli.brokers import brokers, child_environment
from lab.cli.commands import Terminated
from lab.options import Parser, install_without_asking
from lab.process.launcher import usable_cores
from lab.settings import settings

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
