"""Measure the experiment that a file describes: docs/experiments.md has its fields and their values."""

import sys
from pathlib import Path

from harness.experiment.command import add_load_options, add_run_options, filling, measure
from lab.cli import commands
from lab.options import Parser


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python3 -m lab measure", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="an experiment as YAML")
    parser.add_argument("--full", action="store_true", help="the long form, where the file has one")
    add_load_options(parser)
    add_run_options(parser)
    options = parser.parse_args(argv)
    return measure(options.file, options.file.stem, options, filling(options))


if __name__ == "__main__":
    raise SystemExit(commands.main(["measure", *sys.argv[1:]]))
