"""The performance thresholds: each row measured on both sides in one run, in alternating pairs of windows."""

import argparse
import sys
from pathlib import Path

from harness.experiment.session import Experiment, add_results_option, add_window_options, conduct
from harness.experiment.thresholds.rows import ROWS, reached, row_step
from harness.record.run import Run
from lab.cli import commands
from lab.options import Parser

QUICK, FULL = (1.0, 3), (5.0, 7)
"""Seconds of a window, and pairs of windows."""


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    seconds, pairs = FULL if options.full else QUICK
    seconds, pairs = options.seconds or seconds, options.pairs or pairs
    steps = [
        row_step(name, seconds, pairs, options.full, options.yardstick, options.corpus)
        for name in options.only
    ]
    yardstick = options.yardstick.name if options.yardstick else ""
    configuration = {"only": options.only, "seconds": seconds, "pairs": pairs, "yardstick": yardstick}
    kinds = frozenset({"redis", "rabbitmq"})
    experiment = Experiment("bench", steps, None, configuration, kinds=kinds, keeps_raw=False)

    def judge(run: Run) -> int:
        return 0 if options.no_judge or reached(run) else 1

    return conduct(experiment, options.results, judge, as_json=options.json)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m tests.bench", description=__doc__)
    add_window_options(parser, QUICK, FULL)
    parser.add_argument("--only", type=_rows, default=list(ROWS), metavar="ROW,ROW", help=", ".join(ROWS))
    parser.add_argument(
        "--yardstick",
        type=_file,
        metavar="PATH",
        help="a program to compare with, not the plain reference",
    )
    parser.add_argument("--corpus", type=_file, metavar="FILE", help="lines of text to censor")
    parser.add_argument(
        "--no-judge", action="store_true", help="only print: exit code 0 also where a threshold is missed"
    )
    add_results_option(parser)
    return parser


def _rows(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in ROWS:
            raise argparse.ArgumentTypeError(f"no row {name!r}; there are {', '.join(ROWS)}")
    return names


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text} is not a file")
    return path.resolve()


if __name__ == "__main__":
    raise SystemExit(commands.main(["bench", *sys.argv[1:]]))
