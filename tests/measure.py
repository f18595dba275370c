"""Measure an experiment that a file describes: one of your own, or one that the lab ships.

The experiments of the lab and their commands: settings, growth, bench.
"""

import argparse
import sys
from pathlib import Path

from harness.experiment.command import (
    add_load_options,
    add_run_options,
    filling,
    measure,
    measure_shipped,
    names,
)
from harness.experiment.session import middleware_names
from lab.cli import commands
from lab.options import Parser

OWN = """Measure the experiment that a file describes: docs/experiments.md has its fields and their values."""
SETTINGS = """What each setting costs: one change at a time from the default, the same load, with intervals.

Each change is measured in the same blocks as the default. --only takes middlewares, settings and values:
`xmlrpc,rabbitmq:prefetch,redis_impl:guarantee=nothing kept`.
"""
GROWTH = """Cost as insults, subscribers, clients, nodes and requests grow: a curve each, and the memory."""
BENCH = """The performance thresholds: tuned against stock, in alternating blocks of windows of one run.

A threshold is reached if the whole 95 % interval is above it, and missed if the whole interval is below it.
Else it is undecided, and measured longer. Exit codes: 0 reached, 1 missed or failed, 3 undecided.
"""


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python3 -m lab measure", description=OWN)
    parser.add_argument("file", type=Path, metavar="FILE", help="an experiment as YAML")
    parser.add_argument("--full", action="store_true", help="the long form, where the file has one")
    add_load_options(parser)
    add_run_options(parser)
    options = parser.parse_args(argv)
    return measure(options.file, options.file.stem, options, filling(options))


def settings(argv: list[str] | None = None) -> int:
    parser = Parser(
        prog="python3 -m lab settings",
        description=SETTINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--full", action="store_true", help="7 blocks of windows of 5 s")
    parser.add_argument(
        "--only",
        type=names,
        metavar="WHAT,WHAT",
        help="MIDDLEWARE, MIDDLEWARE:SETTING or MIDDLEWARE:SETTING=VALUE",
    )
    return measure_shipped("settings", parser, argv)


def growth(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python3 -m lab growth", description=GROWTH)
    parser.add_argument("--full", action="store_true", help="all sizes, 7 blocks of windows of 5 s")
    parser.add_argument(
        "--only",
        dest="study",
        type=names,
        metavar="STUDY,STUDY",
        help="insults, subscribers, clients, nodes, requests made",
    )
    parser.add_argument("--middleware", dest="only", type=middleware_names, metavar="NAME,NAME")
    return measure_shipped("growth", parser, argv)


def bench(argv: list[str] | None = None) -> int:
    parser = Parser(
        prog="python3 -m lab bench", description=BENCH, formatter_class=argparse.RawDescriptionHelpFormatter
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
    raise SystemExit(commands.main(["measure", *sys.argv[1:]]))
