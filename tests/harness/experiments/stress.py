"""Stress: one system under more and more requests, and under more and more clients."""

import time
from collections.abc import Iterator, Sequence

from lab.contract import Application, Architecture
from tests.harness.accepted import accepted_to_completed
from tests.harness.bench import Bench
from tests.harness.record import Point

CLIENTS = 4
PIPELINE = 50
FIRST_REQUESTS = 100
MOST_REQUESTS = 100_000
"""Per client, as in the classic experiment; the budget usually ends it earlier."""
CLIENT_COUNTS = (1, 2, 4, 8, 16, 32)


def over_requests(
    bench: Bench, middleware: str, architecture: Architecture, window_seconds: float
) -> Iterator[Point]:
    """Measure 4 clients over more and more requests; then 50 in flight each; then what is submitted."""
    with bench.system(middleware, architecture) as system:
        with bench.load(system, CLIENTS) as load:
            for each in _ramp(window_seconds):
                yield bench.point("requests", system, load, lambda load, each=each: load.requests(each))  # type: ignore[misc]
        if bench.workload.application is Application.SERVICE:
            return
        with bench.load(system, CLIENTS, PIPELINE) as load:
            yield bench.point("pipelined", system, load, lambda load: load.closed(window_seconds))
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
                yield bench.point("clients", system, load, lambda load: load.closed(window_seconds))


def _ramp(least_seconds: float) -> Iterator[int]:
    """Yield requests per client, twice as many each time, until a window took *least_seconds*."""
    each = FIRST_REQUESTS
    took = 0.0
    while took < least_seconds and each <= MOST_REQUESTS:
        start = time.monotonic()
        yield each
        took = time.monotonic() - start
        each *= 2
