"""Cost as work grows: more insults, subscribers, clients, nodes, requests; a curve each, and the memory."""

import argparse
import sys

from harness.experiment.growth import STUDIES, growth_step, harness_step
from harness.experiment.session import (
    FAILED,
    GOOD,
    Experiment,
    add_experiment_options,
    add_middleware_option,
    conduct,
    count,
)
from harness.load.workload import Workload
from harness.record.findings import missed
from harness.record.run import Run
from lab.cli import commands
from lab.options import Parser, interval

QUICK, FULL = (0.7, 3), (5.0, 7)
"""Seconds of a window, and windows of each size, in turn with those of the other sizes."""


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    workload = Workload(seed=options.seed, corpus=options.corpus)
    workload.check()
    window, windows = FULL if options.full else QUICK
    options.seconds, options.windows = options.seconds or window, options.windows or windows
    asked = ("only", "middleware", "seconds", "windows", "full")
    configuration = {name: getattr(options, name) for name in asked}
    steps = [
        growth_step(study, name, options.windows, options.seconds, is_full=options.full)
        for study in options.only
        for name in options.middleware
    ]
    if "requests" in options.only:
        steps.append(harness_step(is_full=options.full))
    kinds = frozenset[str]().union(
        *(STUDIES[study].needs(name) for study in options.only for name in options.middleware)
    )
    experiment = Experiment("growth", steps, workload, configuration, kinds=kinds, keeps_raw=False)

    def judge(run: Run) -> int:
        return FAILED if missed(run.curves) and not options.no_judge else GOOD

    return conduct(experiment, options.results, judge, as_json=options.json)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m tests.growth", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--quick", action="store_true", help="few sizes, 3 windows of 0.7 s each: the default, 2 to 3 minutes"
    )
    length.add_argument("--full", action="store_true", help="all sizes, 7 windows of 5 s each")
    parser.add_argument(
        "--only", type=_studies, default=list(STUDIES), metavar="STUDY,STUDY", help=", ".join(STUDIES)
    )
    add_middleware_option(parser)
    parser.add_argument(
        "--windows", type=count, metavar="N", help="windows of each size, at least 3 to be judged"
    )
    parser.add_argument("--seconds", type=interval, metavar="TIME", help="length of a window")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    parser.add_argument(
        "--no-judge", action="store_true", help="only print: exit code 0 also where a bar is missed"
    )
    add_experiment_options(parser)
    return parser


def _studies(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in STUDIES:
            raise argparse.ArgumentTypeError(f"no study {name!r}; there are {', '.join(STUDIES)}")
    return names


if __name__ == "__main__":
    raise SystemExit(commands.main(["growth", *sys.argv[1:]]))
