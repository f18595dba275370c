"""The performance thresholds: tuned against stock, in alternating blocks of windows of one run.

A threshold is reached if the whole 95 % interval is above it, and missed if the whole interval is below it.
Else it is undecided, and measured longer. Exit codes: 0 reached, 1 missed or failed, 3 undecided.
"""

import argparse
import sys

from harness.experiment.command import measure_shipped, names
from lab.cli import commands
from lab.options import Parser


def main(argv: list[str] | None = None) -> int:
    parser = Parser(
        prog="python3 -m lab bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="7 blocks of windows of 5 s, and longer budgets")
    parser.add_argument(
        "--only",
        dest="study",
        type=names,
        metavar="ROW,ROW",
        help="xmlrpc, pyro4, redis, rabbitmq, speedup, insults, censor, memory, worker",
    )
    return measure_shipped("bench", parser, argv)


if __name__ == "__main__":
    raise SystemExit(commands.main(["bench", *sys.argv[1:]]))
