"""Speedup of one middleware: throughput at 1, 2, 3 ... nodes under the same offered concurrency."""

import sys

from harness.experiment.command import (
    add_load_options,
    add_run_options,
    filling,
    measure,
    node_counts,
    shipped,
)
from lab.cli import commands
from lab.middleware import VARIANTS_HELP, middleware_name
from lab.options import Parser


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python3 -m lab speedup", description=__doc__)
    parser.add_argument("middleware", type=middleware_name, metavar="MIDDLEWARE", help=VARIANTS_HELP)
    parser.add_argument("--full", action="store_true", help="1, 2, 3, 4, 6 and 8 nodes")
    add_load_options(parser, nodes=node_counts)
    add_run_options(parser)
    options = parser.parse_args(argv)
    options.only = [options.middleware]
    return measure(shipped("speedup"), "speedup", options, filling(options))


if __name__ == "__main__":
    raise SystemExit(commands.main(["speedup", *sys.argv[1:]]))
