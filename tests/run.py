"""The main job: all four middlewares in both architectures, stress and speedup, data, plots and a report."""

import sys

from harness.experiment.anatomy import anatomy_step
from harness.experiment.capacity import Objective
from harness.experiment.session import (
    Experiment,
    Step,
    add_cluster_option,
    add_experiment_options,
    conduct,
    middleware_names,
)
from harness.experiment.speedup import CPU_BOUND, LATENCY_BOUND
from harness.load.workload import Workload
from lab.cli import commands
from lab.contract import Architecture
from lab.middleware import MIDDLEWARES
from lab.options import Parser
from tests.dynamic_scaling import short_step, thorough_steps
from tests.speedup import speedup_step
from tests.stress import capacity_step, clients_step, requests_step

LEFT_OUT = (
    "Left out of the short form: throughput over clients, capacity and the sweep of rates, CPU-bound "
    "speedup, more than 3 nodes, the anatomy of a request, trials with fresh processes, and all but one load "
    "of dynamic scaling. `lab run --full` has them (about an hour)."
)


ON_ONE_MACHINE = (
    "Left out with --cluster: dynamic scaling, whose pool forks its workers on one machine, and the parts of "
    "a request's CPU time, which are sampled there."
)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(
        prog="python3 -m lab run",
        description="Measure all four middlewares, draw the plots and write a report: about two minutes.",
    )
    parser.add_argument("--quick", action="store_true", help="the short form, about two minutes (default)")
    parser.add_argument("--full", action="store_true", help="everything, with trials: about an hour")
    parser.add_argument(
        "--only",
        type=middleware_names,
        default=list(MIDDLEWARES),
        metavar="A,B",
        help="only these middlewares",
    )
    add_experiment_options(parser)
    add_cluster_option(parser)
    options = parser.parse_args(argv)
    if options.quick and options.full:
        parser.error("--quick and --full exclude each other")
    workload = Workload(seed=options.seed, corpus=options.corpus)
    workload.check()
    steps = _full(options.only) if options.full else _quick(options.only)
    left_out = [] if options.full else [LEFT_OUT]
    if options.cluster:
        left_out.append(ON_ONE_MACHINE)
    else:
        steps += _on_one_machine(options.only, is_full=options.full)
    configuration: dict[str, object] = {
        "form": "full" if options.full else "quick",
        "only": options.only,
        "seed": options.seed,
    }
    experiment = Experiment("run", steps, workload, configuration, left_out, options.cluster)
    return conduct(experiment, options.results)


def _quick(middlewares: list[str]) -> list[Step]:
    steps = [
        requests_step(name, architecture, window=0.75)
        for name in middlewares
        for architecture in Architecture
    ]
    steps += [
        speedup_step(name, (1, 2, 3), LATENCY_BOUND, blocks=3, window=0.8, fresh=False)
        for name in middlewares
    ]
    return steps


def _full(middlewares: list[str]) -> list[Step]:
    steps: list[Step] = []
    for name in middlewares:
        for architecture in Architecture:
            steps += [
                requests_step(name, architecture, window=5.0),
                clients_step(name, architecture, window=5.0),
                capacity_step(name, architecture, Objective(window_seconds=5.0)),
            ]
    for name in middlewares:
        for work in (LATENCY_BOUND, CPU_BOUND):
            steps.append(
                speedup_step(name, (1, 2, 3, 4, 6, 8), work, blocks=5, window=5.0, fresh=True),
            )
    return steps


def _on_one_machine(middlewares: list[str], *, is_full: bool) -> list[Step]:
    """Return what cannot be spread."""
    if not is_full:
        return [short_step()] if "rabbitmq" in middlewares else []
    steps = [anatomy_step(name) for name in middlewares]
    return [*steps, *(thorough_steps() if "rabbitmq" in middlewares else [])]


if __name__ == "__main__":
    raise SystemExit(commands.main(["run", *sys.argv[1:]]))
