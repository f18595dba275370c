"""``lab down``: end what ``lab up`` started."""

import argparse
import shutil

from lab.brokers.state import FOLDER, read_state, write_state
from lab.cli.brokers import say


def main(argv: list[str]) -> int:
    """End the brokers of ``lab up``, by process id; with --purge delete what they stored."""
    parser = argparse.ArgumentParser(prog="python3 -m lab down", description="End what `lab up` started.")
    parser.add_argument("--purge", action="store_true", help="also delete everything they stored")
    arguments = parser.parse_args(argv)
    up = read_state()
    for kind, broker in up.items():
        broker.stop()
        say(f"{kind} ended")
    if not up:
        say("nothing is up")
    write_state({})
    if arguments.purge:
        shutil.rmtree(FOLDER, ignore_errors=True)
        say("data deleted")
    return 0
