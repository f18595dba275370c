"""Stress: one system under more and more requests and clients, under a plan, or with background work."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from harness.analysis.verdicts import LATE_MS
from harness.experiment.bench import Bench
from harness.experiment.capacity import (
    CALLERS,
    LEAST_RATE,
    SHARES,
    Objective,
    capacity,
    failure,
    highest,
)
from harness.experiment.session import Step, needs
from harness.load.measure import Generators
from harness.load.submitted import SubmitSubject
from harness.record.run import Capacity, Point
from lab.contract import Application, Architecture
from lab.load.plans import Plan
from lab.middleware import MIDDLEWARES
from lab.process.system import System

START_SECONDS = 2.0
"""About what it takes to start a system and its load generators."""
SEARCH_WINDOWS = 10
"""About how many rates a capacity search tries."""

CLIENTS = 4
PIPELINE = 50
FIRST_REQUESTS = 200
MOST_REQUESTS = 100_000
"""Per client, as in the classic experiment; the budget usually ends it earlier."""
CLIENT_COUNTS = (1, 2, 4, 8, 16, 32)


class BlockCounts(NamedTuple):
    """How many blocks of each load: one in flight per client, many, submit to result."""

    single: int
    many: int
    accepted: int


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
        yield accepted_to_completed(bench, system, SUBMITTERS, window_seconds)


def side_by_side(
    bench: Bench,
    variants: Sequence[str],
    architecture: Architecture,
    window_seconds: float,
    blocks: BlockCounts,
) -> Iterator[Point]:
    """Measure *variants* under the same loads, a window of each in every block."""
    with ExitStack() as stack:
        systems = {name: stack.enter_context(bench.system(name, architecture)) for name in variants}
        studies = [("requests", 1, blocks.single), ("pipelined", PIPELINE, blocks.many)]
        loads = {
            (name, depth): bench.load(system, CLIENTS, depth)
            for name, system in systems.items()
            for _, depth, count in studies
            if count
        }
        for load in loads.values():
            stack.callback(load.close)
        for load in loads.values():
            load.wait_ready()
        make = partial(Generators.closed, seconds=window_seconds)
        for study, depth, count in studies:
            for name, block in _in_turn(variants, count):
                yield bench.point(study, systems[name], loads[name, depth], make, block=block)
        for name, block in _in_turn(variants, blocks.accepted):
            point = accepted_to_completed(bench, systems[name], SUBMITTERS, window_seconds)
            yield replace(point, block=block)


def _in_turn(variants: Sequence[str], blocks: int) -> Iterator[tuple[str, int]]:
    """Yield all *variants* in each block, in turning order, so that a drift favours none."""
    for block in range(1, blocks + 1):
        yield from ((name, block) for name in list(variants)[:: -1 if block % 2 else 1])


def over_clients(
    bench: Bench, middleware: str, architecture: Architecture, window_seconds: float
) -> Iterator[Point]:
    """Measure closed loops of more and more clients, one request in flight each."""
    with bench.system(middleware, architecture) as system:
        for clients in CLIENT_COUNTS:
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


def planned(bench: Bench, middleware: str, architecture: Architecture, plan: Plan) -> Iterator[Point]:
    """Send as *plan* says; it is kept beside the raw times."""
    with bench.system(middleware, architecture) as system, bench.load(system, CALLERS) as load:
        yield bench.point(
            "planned", system, load, partial(Generators.open, plan=plan), setting=plan.description
        )


BOUNDED = Objective(p99_ms=1000.0)
"""A backlog that keeps most texts waiting for longer than this is none that anybody wants."""
PROBE_SHARE, PRECISION, FINALS = 0.25, 0.10, 4
"""A rate is searched with shorter windows. The last one is as long as asked, at lower rates if need be."""
SUBMITTERS, MOST_SUBMITTERS = 8, 128


def accepted_to_completed(bench: Bench, system: System, clients: int, seconds: float) -> Point:
    """Submit texts at the highest rate whose backlog is bounded; each is done when its result is seen.

    *clients* submit at first, and more of them if that helps. Readers beside look for the results.
    """
    subject = SubmitSubject(system.spec.middleware, system.target, bench.workload.pool())
    seeds = itertools.count(bench.workload.seed)
    probe = replace(BOUNDED, window_seconds=PROBE_SHARE * seconds)
    late: dict[float, bool] = {}
    with ExitStack() as stack:
        load = stack.enter_context(bench.generators(subject, clients))

        def is_bounded(rate: float) -> bool:
            measured = load.open(Plan.poisson(rate, probe.seconds_for(rate), next(seeds)))
            late[rate] = (measured.late_p99_ms or 0.0) > LATE_MS
            return not failure(measured, rate, probe)

        rate = load.closed(probe.window_seconds).throughput or LEAST_RATE
        rate, failed = highest(is_bounded, rate, PRECISION)
        while late.get(failed) and load.clients < MOST_SUBMITTERS:
            before, load = load, stack.enter_context(bench.generators(subject, 4 * load.clients))
            if not is_bounded(failed):  # it is the system that is slow, and not that they are few
                load = before
                break
            rate, failed = highest(is_bounded, failed, PRECISION)
        return _settled(bench, system, load, rate, replace(BOUNDED, window_seconds=seconds), seeds)


def _settled(
    bench: Bench, system: System, load: Generators, rate: float, objective: Objective, seeds: Iterator[int]
) -> Point:
    """Measure at *rate*, or at a lower one at which the whole window is valid and its backlog bounded."""
    for lower in range(FINALS):
        offered = max(LEAST_RATE, rate * (1 - PRECISION) ** lower)
        plan = Plan.poisson(offered, objective.seconds_for(offered), next(seeds))
        point = bench.point("accepted", system, load, partial(Generators.open, plan=plan))
        why = failure(point.measurement, offered, objective)
        if not why and point.is_valid:
            break
    unbounded = [f"the backlog is not bounded: {why}"] if why and point.is_valid else []
    return replace(point, objections=[*point.objections, *unbounded])


def requests_step(middleware: str, architecture: Architecture, window: float) -> Step:
    """Return the step that measures one system over more and more requests."""
    measure = partial(
        over_requests,
        middleware=middleware,
        architecture=architecture,
        window_seconds=window,
    )
    return system_step("requests", middleware, architecture, START_SECONDS + 5 * window, measure)


def variants_step(
    variants: Sequence[str], architecture: Architecture, window: float, blocks: BlockCounts
) -> Step:
    """Return the step that measures *variants* of one middleware in the same blocks."""
    measure = partial(
        side_by_side, variants=variants, architecture=architecture, window_seconds=window, blocks=blocks
    )
    what = f"{' and '.join(MIDDLEWARES[name].label for name in variants)}, {architecture}"
    windows = blocks.single + blocks.many + SEARCH_WINDOWS * PROBE_SHARE * blocks.accepted + blocks.accepted
    seconds = len(variants) * (START_SECONDS + window * windows)
    return Step(what, seconds, needs(variants[0], architecture), measure)


def clients_step(middleware: str, architecture: Architecture, window: float) -> Step:
    """Return the step that measures one system over more and more clients."""
    measure = partial(over_clients, middleware=middleware, architecture=architecture, window_seconds=window)
    seconds = len(CLIENT_COUNTS) * (START_SECONDS + window)
    return system_step("clients", middleware, architecture, seconds, measure)


def capacity_step(middleware: str, architecture: Architecture, objective: Objective) -> Step:
    """Return the step that searches the capacity of one system and measures on the way to it."""
    measure = partial(capacity, middleware=middleware, architecture=architecture, objective=objective)
    seconds = START_SECONDS + (SEARCH_WINDOWS + len(SHARES)) * objective.window_seconds
    return system_step("capacity", middleware, architecture, seconds, measure)


def system_step(
    study: str,
    middleware: str,
    architecture: Architecture,
    seconds: float,
    measure: Callable[[Bench], Iterator[Point | Capacity]],
) -> Step:
    what = f"{study}: {MIDDLEWARES[middleware].label}, {architecture}"
    return Step(what, seconds, needs(middleware, architecture), measure)
