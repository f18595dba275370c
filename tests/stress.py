"""Stress one middleware: throughput over requests and over clients, its capacity, and response times."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial

from lab.contract import Application, Architecture
from lab.middlewares import MIDDLEWARES
from tests.harness.bench import Bench
from tests.harness.experiments.capacity import SHARES, Objective, capacity
from tests.harness.experiments.stress import CLIENT_COUNTS, over_clients, over_requests
from tests.harness.record import Capacity, Point
from tests.harness.session import Experiment, Step, add_experiment_options, conduct, needs, seconds
from tests.harness.workload import Workload

START_SECONDS = 2.0
"""About what it takes to start a system and its load generators."""
SEARCH_WINDOWS = 10
"""About how many rates a capacity search tries."""
STUDIES = ("requests", "clients", "capacity")


def requests_step(middleware: str, architecture: Architecture, window: float) -> Step:
    """Return the step that measures one system over more and more requests."""
    measure = partial(
        over_requests,
        middleware=middleware,
        architecture=architecture,
        window_seconds=window,
    )
    return _step("requests", middleware, architecture, START_SECONDS + 5 * window, measure)


def clients_step(middleware: str, architecture: Architecture, window: float) -> Step:
    """Return the step that measures one system over more and more clients."""
    measure = partial(over_clients, middleware=middleware, architecture=architecture, window_seconds=window)
    seconds = len(CLIENT_COUNTS) * (START_SECONDS + window)
    return _step("clients", middleware, architecture, seconds, measure)


def capacity_step(middleware: str, architecture: Architecture, objective: Objective) -> Step:
    """Return the step that searches the capacity of one system and measures on the way to it."""
    measure = partial(capacity, middleware=middleware, architecture=architecture, objective=objective)
    seconds = START_SECONDS + (SEARCH_WINDOWS + len(SHARES)) * objective.window_seconds
    return _step("capacity", middleware, architecture, seconds, measure)


def _step(
    study: str,
    middleware: str,
    architecture: Architecture,
    seconds: float,
    measure: Callable[[Bench], Iterator[Point | Capacity]],
) -> Step:
    what = f"{study}: {MIDDLEWARES[middleware].label}, {architecture}"
    return Step(what, seconds, needs(middleware, architecture), measure)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("middleware", choices=MIDDLEWARES)
    parser.add_argument(
        "--study", choices=(*STUDIES, "all"), default="all", help="over requests, over clients, or capacity"
    )
    parser.add_argument(
        "--application", type=Application, choices=list(Application), default=Application.FILTER
    )
    parser.add_argument("--architecture", type=Architecture, choices=list(Architecture), help="default: both")
    parser.add_argument("--seconds", type=seconds, default=4.0, help="length of a window (default 4)")
    parser.add_argument(
        "--objective", type=float, default=50.0, metavar="MS", help="p99 that a rate must keep (default 50)"
    )
    add_experiment_options(parser)
    options = parser.parse_args(argv)
    if not options.objective > 0:
        parser.error("--objective must be more than 0 milliseconds")
    workload = Workload(options.application, options.seed, options.corpus)
    workload.check()
    window = options.seconds
    steps = []
    for architecture in [options.architecture] if options.architecture else list(Architecture):
        one_by_one = {
            "requests": requests_step(options.middleware, architecture, window),
            "clients": clients_step(options.middleware, architecture, window),
            "capacity": capacity_step(options.middleware, architecture, Objective(options.objective, window)),
        }
        steps += [step for study, step in one_by_one.items() if options.study in (study, "all")]
    configuration = {"middleware": options.middleware, "study": options.study, "seconds": window}
    return conduct(Experiment("stress", steps, workload, configuration), options.results)


if __name__ == "__main__":
    raise SystemExit(main())
