"""Throughput of one middleware over the total number of requests."""

import argparse
from functools import partial

from lab.contract import Application, Architecture
from lab.middlewares import MIDDLEWARES
from tests.harness.experiments import Budget, stress
from tests.harness.session import Step, add_experiment_options, conduct, needs
from tests.harness.workload import Workload

START_SECONDS = 3.0
"""About what it takes to start a system and its load generators."""


def stress_step(middleware: str, architecture: Architecture, workload: Workload, budget: Budget) -> Step:
    """Return the step that stresses one system."""
    return Step(
        f"stress {MIDDLEWARES[middleware].label}, {architecture}",
        START_SECONDS + budget.ramp + budget.pipelined,
        needs(middleware, architecture),
        partial(stress, middleware, architecture, workload, budget=budget),
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("middleware", choices=MIDDLEWARES)
    parser.add_argument(
        "--application", type=Application, choices=list(Application), default=Application.FILTER
    )
    parser.add_argument("--architecture", type=Architecture, choices=list(Architecture), help="default: both")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="time for the ramp of a system (default 10)"
    )
    add_experiment_options(parser)
    options = parser.parse_args(argv)
    if options.seconds <= 0:
        parser.error("--seconds must be more than 0")
    workload = Workload(options.application, options.seed, options.corpus)
    workload.check()
    budget = Budget(ramp=options.seconds, pipelined=options.seconds / 2)
    architectures = [options.architecture] if options.architecture else list(Architecture)
    steps = [
        stress_step(options.middleware, architecture, workload, budget) for architecture in architectures
    ]
    configuration: dict[str, object] = {"workload": workload.describe(), "seconds": options.seconds}
    return conduct("stress", steps, configuration, options.results)


if __name__ == "__main__":
    raise SystemExit(main())
