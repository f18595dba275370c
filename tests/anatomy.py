"""Where the CPU time of one request goes: components as the kernel counts them, parts by sampled stacks."""

import argparse
import sys

from harness.experiment.anatomy import CLIENTS, FULL, QUICK, anatomy_step, library_step
from harness.experiment.factors import MOST_CLIENTS
from harness.experiment.session import (
    Experiment,
    add_experiment_options,
    add_middleware_option,
    add_results_option,
    add_window_options,
    conduct,
    count,
    middleware_names,
)
from harness.load.workload import Workload
from lab.cli import commands
from lab.contract import Application, Architecture
from lab.middleware import VARIANTS
from lab.options import Parser, interval, whole_number


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    workload = Workload(options.application, options.seed, options.corpus)
    workload.check()
    window, pairs = FULL if options.full else QUICK
    options.seconds, options.pairs = options.seconds or window, options.pairs or pairs
    asked = ("middleware", "architecture", "clients", "seconds", "pairs", "places")
    configuration = {name: getattr(options, name) for name in asked}
    steps = [
        anatomy_step(name, options.architecture, options.clients, options.pairs, options.seconds)
        for name in options.middleware
    ]
    experiment = Experiment("anatomy", steps, workload, configuration, keeps_raw=False)
    return conduct(experiment, options.results, as_json=options.json)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python3 -m lab anatomy", description=__doc__)
    add_window_options(parser, QUICK, FULL)
    add_middleware_option(parser)
    parser.add_argument(
        "--application", type=Application, choices=list(Application), default=Application.FILTER
    )
    parser.add_argument(
        "--architecture", type=Architecture, choices=list(Architecture), default=Architecture.ONE_NODE
    )
    parser.add_argument(
        "--clients", type=whole_number(1, MOST_CLIENTS), default=CLIENTS, metavar="N", help="default: 4"
    )
    parser.add_argument(
        "--places",
        type=count,
        default=8,
        metavar="N",
        help="places of the code to name per process (default 8)",
    )
    add_experiment_options(parser)
    return parser


def library(argv: list[str] | None = None) -> int:
    """Print how much of a filter call lies in the middleware's library: by calls and by CPU time."""
    parser = Parser(prog="python3 -m lab library", description=library.__doc__)
    parser.add_argument(
        "--only",
        type=middleware_names,
        default=list(VARIANTS),
        metavar="A,B:stock",
        help="only these variants",
    )
    parser.add_argument("--seconds", type=interval, default=2.0, metavar="TIME", help="of sampling (2s)")
    add_results_option(parser)
    options = parser.parse_args(argv)
    steps = [library_step(name, options.seconds) for name in options.only]
    configuration: dict[str, object] = {"only": options.only, "seconds": options.seconds}
    experiment = Experiment("library", steps, Workload(), configuration, keeps_raw=False)
    return conduct(experiment, options.results)


if __name__ == "__main__":
    raise SystemExit(commands.main(["anatomy", *sys.argv[1:]]))
