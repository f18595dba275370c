"""Speedup of one middleware: throughput at 1, 2, 3 ... nodes under the same offered concurrency."""

import argparse
import sys

from harness.experiment.command import add_load_options, add_run_options, filling, measure, shipped
from harness.experiment.factors import MOST_NODES
from lab.cli import commands
from lab.middleware import VARIANTS_HELP, middleware_name
from lab.options import Parser


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python3 -m lab speedup", description=__doc__)
    parser.add_argument("middleware", type=middleware_name, metavar="MIDDLEWARE", help=VARIANTS_HELP)
    parser.add_argument("--full", action="store_true", help="1, 2, 3, 4, 6 and 8 nodes")
    add_load_options(parser, nodes=_counts)
    add_run_options(parser)
    options = parser.parse_args(argv)
    options.only = [options.middleware]
    return measure(shipped("speedup"), "speedup", options, filling(options))


def _counts(text: str) -> str:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list like 1,2,3") from error
    if counts[0] != 1 or counts != sorted(set(counts)):
        raise argparse.ArgumentTypeError("numbers of nodes start at 1 and ascend: speedup is against 1 node")
    if counts[-1] > MOST_NODES:
        raise argparse.ArgumentTypeError(f"at most {MOST_NODES} nodes: each is a process on this machine")
    return text


if __name__ == "__main__":
    raise SystemExit(commands.main(["speedup", *sys.argv[1:]]))
