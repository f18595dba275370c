"""``lab check``: everything a change must pass."""

import sys

from lab.cli import test
from lab.cli.child import run_child
from lab.options import Parser

MIDDLEWARES = ("xmlrpc", "pyro4", "redis_impl", "rabbitmq", "contrib")
PACKAGES = ("lab", *MIDDLEWARES, "dynamic", "harness", "watch", "machines", "tests")
CHECKS = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy", *PACKAGES],
}


def main(argv: list[str]) -> int:
    """Run the checks, all of them even if one fails; end with what passed."""
    parser = Parser(prog="python3 -m lab check", description="Format, lint, types and tests.")
    parser.add_argument("--no-tests", action="store_true", help="leave out the tests")
    arguments = parser.parse_args(argv)
    passed = {name: _passes(command) for name, command in CHECKS.items()}
    if not arguments.no_tests:
        passed["tests"] = test.main([]) == 0
    for name, good in passed.items():
        print(f"{name:8} {'passed' if good else 'FAILED'}")
    return 0 if all(passed.values()) else 1


def _passes(command: list[str]) -> bool:
    return run_child([sys.executable, "-m", *command]) == 0
