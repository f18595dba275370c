"""Cost as work grows: more insults, subscribers, clients, nodes, requests; a curve each, and the memory."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from harness.experiment.bench import Bench
from harness.experiment.growth.curve import Curve, Terms
from harness.experiment.growth.load import harness_alone
from harness.experiment.growth.studies import HARNESS_FULL, HARNESS_QUICK, HARNESS_SECONDS, STUDIES
from harness.experiment.session import (
    FAILED,
    GOOD,
    add_experiment_options,
    count,
    middleware_names,
)
from harness.experiment.thresholds.load import SideFailed
from harness.load.workload import Workload
from harness.record.environment import environment
from harness.record.run import new_folder
from harness.report.progress import Steps
from harness.report.words import not_here
from lab.cli import commands
from lab.cli.brokers import brokers, say
from lab.errors import LabError
from lab.middlewares import MIDDLEWARES
from lab.options import Parser, interval
from lab.settings import settings

if TYPE_CHECKING:
    from harness.experiment.growth.run import GrowthRun

QUICK, FULL = (0.7, 3), (5.0, 7)
"""Seconds of a window, and windows of each size, in turn with those of the other sizes."""


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    from harness.experiment.growth.run import GrowthRun, finish, show  # matplotlib: --help need not wait

    workload = Workload(seed=options.seed, corpus=options.corpus)
    workload.check()
    window, windows = FULL if options.full else QUICK
    options.seconds, options.windows = options.seconds or window, options.windows or windows
    asked = ("only", "middleware", "seconds", "windows", "full")
    configuration = {name: getattr(options, name) for name in asked} | {"workload": workload.describe()}
    run = GrowthRun(configuration=configuration, environment=environment())
    folder = new_folder(run.experiment, options.results)
    with ExitStack() as stack:
        stack.callback(say, f"data and plots: {folder}")
        stack.callback(finish, run, folder)  # also of a run that was interrupted
        kinds = (STUDIES[study].needs(name) for study in options.only for name in options.middleware)
        urls = stack.enter_context(brokers(settings(), frozenset().union(*kinds)))
        run.environment["brokers"] = list(urls.descriptions)
        code = _measure(options, Bench(urls, workload), run)
    if options.json:
        print((folder / f"{run.experiment}.json").read_text(encoding="utf-8"))
    else:
        show(run)
    return code or (FAILED if run.missed and not options.no_judge else GOOD)


def _measure(options: argparse.Namespace, bench: Bench, run: "GrowthRun") -> int:
    steps = [(study, name) for study in options.only for name in options.middleware]
    if "requests" in options.only:
        steps.append(("requests", ""))
    code = GOOD
    with Steps(sum(_expected(options, *step) for step in steps)) as progress:
        for study, name in steps:
            label = MIDDLEWARES[name].label if name else "the harness alone"
            progress.step(f"{study}: {label}", _expected(options, study, name))
            try:
                for curve in _curves(options, bench, study, name):
                    run.curves.append(curve)
                    progress.say(_said(curve))
            except (LabError, SideFailed, OSError) as error:
                code = FAILED
                said = getattr(error, "message", "") or str(error)
                run.notes.append(f"FAILED {study}: {label}: {type(error).__name__}: {said}")
                progress.say(run.notes[-1])
    return code


def _curves(options: argparse.Namespace, bench: Bench, study: str, name: str) -> Iterator[Curve]:
    if not name:
        yield from harness_alone(HARNESS_FULL if options.full else HARNESS_QUICK)
        return
    growth = STUDIES[study]
    missing = growth.needs(name) - bench.brokers.kinds
    if missing:
        yield Curve(study, name, "not measured", missing=not_here(missing))
        return
    sizes = growth.sizes(is_full=options.full)
    yield from growth.measure(name, Terms(bench, sizes, options.windows, options.seconds, options.full))


def _said(curve: Curve) -> str:
    if not curve.sizes:
        return curve.missing
    ends = [curve.sizes[0], curve.sizes[-1]]
    said = " to ".join(f"{one.median:,.4g}{curve.unit}" for one in ends)
    return f"{curve.title}: {said} from {ends[0].size:,} to {ends[1].size:,}"


def _expected(options: argparse.Namespace, study: str, name: str) -> float:
    if not name:
        return HARNESS_SECONDS[options.full]
    return STUDIES[study].expected(options.windows, options.seconds, is_full=options.full)


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
    parser.add_argument(
        "--middleware",
        type=middleware_names,
        default=list(MIDDLEWARES),
        metavar="NAME,NAME",
        help=f"default: {','.join(MIDDLEWARES)}",
    )
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
