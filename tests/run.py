"""The main job: all four middlewares in both architectures, stress and speedup, data, plots and a report."""

import sys

from harness.experiment.forms import LEFT_OUT, ON_ONE_MACHINE, full_steps, quick_steps, steps_of_one_machine
from harness.experiment.session import (
    Experiment,
    add_cluster_option,
    add_experiment_options,
    conduct,
    middleware_names,
)
from harness.load.workload import Workload
from lab.cli import commands
from lab.middleware import VARIANTS
from lab.options import Parser


def main(argv: list[str] | None = None) -> int:
    parser = Parser(
        prog="python3 -m lab run",
        description="Measure all four middlewares, stock and tuned, and write a report: about four minutes.",
    )
    parser.add_argument("--quick", action="store_true", help="the short form, about four minutes (default)")
    parser.add_argument("--full", action="store_true", help="everything, with trials: about four hours")
    parser.add_argument(
        "--only",
        type=middleware_names,
        default=list(VARIANTS),
        metavar="A,B:stock",
        help="only these variants (default: all, stock and tuned)",
    )
    add_experiment_options(parser)
    add_cluster_option(parser)
    options = parser.parse_args(argv)
    if options.quick and options.full:
        parser.error("--quick and --full exclude each other")
    workload = Workload(seed=options.seed, corpus=options.corpus)
    workload.check()
    steps = full_steps(options.only) if options.full else quick_steps(options.only)
    left_out = [] if options.full else [LEFT_OUT]
    if options.cluster:
        left_out.append(ON_ONE_MACHINE)
    else:
        steps += steps_of_one_machine(options.only, is_full=options.full)
    configuration: dict[str, object] = {
        "form": "full" if options.full else "quick",
        "only": options.only,
        "seed": options.seed,
    }
    experiment = Experiment("run", steps, workload, configuration, left_out, options.cluster)
    return conduct(experiment, options.results)


if __name__ == "__main__":
    raise SystemExit(commands.main(["run", *sys.argv[1:]]))
