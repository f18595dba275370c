"""``lab test``: every functional test, on real brokers."""

import subprocess
import sys

from lab.bootstrap import ROOT
from lab.cli.brokers import brokers, child_environment
from lab.settings import settings

HELP = """usage: python3 -m lab test [PYTEST OPTIONS]

Run the functional tests. Redis and RabbitMQ are used where they run, else started privately for the tests.
Whatever follows goes to pytest: `lab test -k rabbitmq`, `lab test tests/unit -x`.
"""


def main(argv: list[str]) -> int:
    """Run pytest with *argv* behind brokers that it finds in its environment."""
    if argv in (["-h"], ["--help"]):
        print(HELP)
        return 0
    with brokers(settings(), frozenset({"redis", "rabbitmq"})) as urls:
        command = [sys.executable, "-m", "pytest", *argv]
        return (
            1 if subprocess.run(command, cwd=ROOT, env=child_environment(urls), check=False).returncode else 0
        )
