"""The main job: all four middlewares in both architectures, stress and speedup, data, plots and a report."""

import sys

from harness.experiment.command import (
    add_load_options,
    add_run_options,
    filling,
    measure,
    node_counts,
    shipped,
)
from harness.experiment.session import middleware_names
from lab.cli import commands
from lab.options import Parser


def main(argv: list[str] | None = None) -> int:
    parser = Parser(
        prog="python3 -m lab run",
        description="Measure all four middlewares, stock and tuned, and write a report: about four minutes.",
    )
    parser.add_argument("--quick", action="store_true", help="the short form, about four minutes (default)")
    parser.add_argument("--full", action="store_true", help="everything, with trials: about six hours")
    parser.add_argument(
        "--only",
        type=middleware_names,
        metavar="A,B:stock",
        help="only these variants (default: all, stock and tuned)",
    )
    add_load_options(parser, nodes=node_counts)
    add_run_options(parser)
    options = parser.parse_args(argv)
    if options.quick and options.full:
        parser.error("--quick and --full exclude each other")
    return measure(shipped("run"), "run", options, filling(options))


if __name__ == "__main__":
    raise SystemExit(commands.main(["run", *sys.argv[1:]]))
