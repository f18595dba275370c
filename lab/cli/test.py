"""``lab test``: every functional test, on real brokers."""

import sys

from lab.cli.brokers import brokers, child_environment
from lab.cli.child import run_child
from lab.process.launcher import usable_cores
from lab.settings import settings

WRONG_USAGE_OF_PYTEST = 4
SIDE_BY_SIDE = ["-n", str(max(2, min(4, usable_cores()))), "--dist", "loadgroup"]
"""Tests mostly wait: for brokers, leases, deadlines. See tests/conftest.py for what stays together."""
HELP = """usage: python3 -m lab test [--yes] [PYTEST OPTIONS]

Run the functional tests. Redis and RabbitMQ are used where they run, else started privately for the tests;
--yes installs a missing one without asking. The whole of them runs a few at a time.
Whatever follows goes to pytest: `lab test -k rabbitmq`, `lab test tests/unit -x`.
"""


def main(argv: list[str]) -> int:
    """Run pytest with *argv* behind brokers that it finds in its environment."""
    if argv in (["-h"], ["--help"]):
        print(HELP)
        return 0
    options = [argument for argument in argv if argument != "--yes"] or SIDE_BY_SIDE
    with brokers(settings(), frozenset({"redis", "rabbitmq"}), yes="--yes" in argv) as urls:
        command = [sys.executable, "-m", "pytest", *options]
        code = run_child(command, child_environment(urls))
        return {0: 0, WRONG_USAGE_OF_PYTEST: 2}.get(code, 1)
