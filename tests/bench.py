"""The performance thresholds: tuned against stock, in alternating pairs of windows of one run.

A threshold is reached if the whole 95 % interval is above it, and missed if the whole interval is below it.
Else it is undecided, and measured longer. Exit codes: 0 reached, 1 missed or failed, 3 undecided.
"""

import argparse
import sys
from pathlib import Path

from harness.experiment.contestants import Terms
from harness.experiment.session import Experiment, add_results_option, add_window_options, conduct
from harness.experiment.thresholds.rows import ROWS, judged, row_step
from lab.cli import commands
from lab.options import Parser, interval
from lab.process.system import BrokerUrls

QUICK, FULL = (1.0, 3, 30.0), (5.0, 7, 300.0)
"""Seconds of a window, pairs of windows, and seconds for a row that is undecided."""


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    seconds, pairs, budget = FULL if options.full else QUICK
    terms = Terms(
        BrokerUrls(),
        options.seconds or seconds,
        options.pairs or pairs,
        budget if options.budget is None else options.budget,
        options.full,
        options.corpus,
    )
    configuration = {
        "only": options.only,
        "seconds": terms.seconds,
        "pairs": terms.pairs,
        "budget_seconds": terms.budget_seconds,
    }
    kinds = frozenset({"redis", "rabbitmq"})
    steps = [row_step(name, terms) for name in options.only]
    experiment = Experiment("bench", steps, None, configuration, kinds=kinds, keeps_raw=False)
    return conduct(experiment, options.results, judged, as_json=options.json)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m tests.bench", description=__doc__)
    add_window_options(parser, QUICK[:2], FULL[:2])
    parser.add_argument("--only", type=_rows, default=list(ROWS), metavar="ROW,ROW", help=", ".join(ROWS))
    parser.add_argument(
        "--budget",
        type=interval,
        metavar="TIME",
        help="measure an undecided row longer, for so long (default 30s; with --full 5m)",
    )
    parser.add_argument("--corpus", type=_file, metavar="FILE", help="lines of text to censor")
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
