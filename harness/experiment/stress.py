"""Stress: one system under more and more requests, and under more and more clients."""

from collections.abc import Iterator, Sequence
from functools import partial

from harness.experiment.accepted import accepted_to_completed
from harness.experiment.bench import Bench
from harness.load.measure import Generators
from harness.record.run import Point
from lab.contract import Application, Architecture
from lab.process.system import System

CLIENTS = 4
PIPELINE = 50
FIRST_REQUESTS = 200
MOST_REQUESTS = 100_000
"""Per client, as in the classic experiment; the budget usually ends it earlier."""
CLIENT_COUNTS = (1, 2, 4, 8, 16, 32)


def over_requests(
    bench: Bench, middleware: str, architecture: Architecture, window_seconds: float
) -> Iterator[Point]:
    """Measure 4 clients over more and more requests; then 50 in flight each; then what is submitted."""
    with bench.system(middleware, architecture) as system:
        with bench.load(system, CLIENTS) as load:
            yield from _ramp(bench, system, load, window_seconds)
        if bench.workload.application is Application.SERVICE:
            return
        with bench.load(system, CLIENTS, PIPELINE) as load:
            yield bench.point("pipelined", system, load, partial(Generators.closed, seconds=window_seconds))
        yield accepted_to_completed(bench, system, CLIENTS, window_seconds)


def over_clients(
    bench: Bench,
    middleware: str,
    architecture: Architecture,
    window_seconds: float,
    counts: Sequence[int] = CLIENT_COUNTS,
) -> Iterator[Point]:
    """Measure closed loops of more and more clients, one request in flight each."""
    with bench.system(middleware, architecture) as system:
        for clients in counts:
            with bench.load(system, clients) as load:
                yield bench.point("clients", system, load, partial(Generators.closed, seconds=window_seconds))


def _ramp(bench: Bench, system: System, load: Generators, least_seconds: float) -> Iterator[Point]:
    """Measure twice as many requests each time, until a window took *least_seconds*."""
    each = FIRST_REQUESTS
    while each <= MOST_REQUESTS:
        point = bench.point("requests", system, load, partial(Generators.requests, each=each))
        yield point
        if point.measurement.seconds >= least_seconds:
            return
        each *= 2
