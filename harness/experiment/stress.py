"""Stress: one system under more and more requests and clients, under a plan, or with background work."""

import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from harness.analysis.verdicts import objections
from harness.experiment.bench import Bench
from harness.experiment.capacity import CALLERS as PLANNED_CLIENTS
from harness.experiment.capacity import SHARES, Objective, capacity
from harness.experiment.session import Step, needs
from harness.load.generator import now
from harness.load.measure import Generators
from harness.probes.resources import meter
from harness.record.measurement import RawFile, Recorder, summarise
from harness.record.run import Capacity, Point
from lab.contract import Application, Architecture, InsultFilter
from lab.errors import LabError
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


class Blocks(NamedTuple):
    """How many blocks of each load: one in flight per client, many, texts submitted and found."""

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
        yield accepted_to_completed(bench, system, CLIENTS, window_seconds)


def side_by_side(
    bench: Bench, variants: Sequence[str], architecture: Architecture, window_seconds: float, blocks: Blocks
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
            point = accepted_to_completed(bench, systems[name], CLIENTS, window_seconds)
            yield replace(point, block=block)


def _in_turn(variants: Sequence[str], blocks: int) -> Iterator[tuple[str, int]]:
    """Yield all *variants* in each block, in turning order, so that a drift favours none."""
    for block in range(1, blocks + 1):
        yield from ((name, block) for name in list(variants)[:: -1 if block % 2 else 1])


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


def planned(bench: Bench, middleware: str, architecture: Architecture, plan: Plan) -> Iterator[Point]:
    """Send as *plan* says; it is kept beside the raw times."""
    with bench.system(middleware, architecture) as system, bench.load(system, PLANNED_CLIENTS) as load:
        yield bench.point(
            "planned", system, load, partial(Generators.open, plan=plan), setting=plan.description
        )


ROUND = 400
"""Texts submitted before their results are waited for: a page of the result list holds them all."""
RETRY_SECONDS = 20.0
LOOK_SECONDS = 0.002

Waiting = dict[str, tuple[int, str]]
"""By id: when the text was submitted, and what must become of it."""


def accepted_to_completed(bench: Bench, system: System, clients: int, seconds: float) -> Point:
    """Submit rounds of texts with *clients* at once; a text is done when it is seen in the result list."""
    with ExitStack() as stack:
        folder = bench.raw or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        raw_path = folder / f"accepted-{time.time_ns()}-{os.getpid()}.i64"
        raw = stack.enter_context(closing(RawFile(raw_path)))
        connected = [stack.enter_context(system.filter()) for _ in range(clients)]
        recorder = Recorder(raw)
        warm_up = Recorder(stack.enter_context(closing(RawFile(Path(os.devnull)))))
        _round(connected, bench.workload.pool(), warm_up)  # discarded
        spent_there = meter(system, bench.brokers)
        stack.enter_context(spent_there)
        spent = time.process_time()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not recorder.tally.lost:
            _round(connected, bench.workload.pool(), recorder)
        recorder.tally.cpu_seconds = time.process_time() - spent
        recorder.flush()
    measured = summarise(recorder.tally, [raw_path])
    return Point(
        "accepted",
        system.spec.middleware,
        system.spec.architecture,
        len(system.nodes),
        clients,
        ROUND // clients,
        measured,
        usage=spent_there.usage,
        objections=objections(measured, processes=1),
    )


def _round(clients: Sequence[InsultFilter], pool: Sequence[tuple[str, str]], recorder: Recorder) -> None:
    waiting: Waiting = {}
    lock = threading.Lock()

    def submit(client: InsultFilter, texts: Sequence[tuple[str, str]]) -> None:
        for text, expected in texts:
            sent_ns = now()
            try:
                petition_id = client.submit(text)
            except LabError as error:
                with lock:
                    recorder.tally.failed[error.code] += 1
                continue
            with lock:
                waiting[petition_id] = (sent_ns, expected)

    start = recorder.tally.made
    chosen = [pool[(start + index) % len(pool)] for index in range(ROUND)]
    threads = [
        threading.Thread(target=submit, args=(client, chosen[index :: len(clients)]))
        for index, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.tally.made += ROUND
    _collect(clients[0], waiting, recorder)


def _collect(reader: InsultFilter, waiting: Waiting, recorder: Recorder) -> None:
    """Look at the newest results until all that wait are there. Those that stay away are lost."""
    deadline = time.monotonic() + RETRY_SECONDS
    doubled: set[str] = set()
    while waiting and time.monotonic() < deadline:
        page = reader.get_results()
        done_ns = now()
        ids = Counter(result.petition_id for result in page)
        doubled |= {petition_id for petition_id, count in ids.items() if count > 1}
        for petition_id, text in page:
            if petition_id in waiting:
                sent_ns, expected = waiting.pop(petition_id)
                recorder.answered(sent_ns, sent_ns, done_ns, text == expected)
        if waiting:
            time.sleep(LOOK_SECONDS)
    recorder.tally.duplicates += len(doubled)


def requests_step(middleware: str, architecture: Architecture, window: float) -> Step:
    """Return the step that measures one system over more and more requests."""
    measure = partial(
        over_requests,
        middleware=middleware,
        architecture=architecture,
        window_seconds=window,
    )
    return system_step("requests", middleware, architecture, START_SECONDS + 5 * window, measure)


def variants_step(variants: Sequence[str], architecture: Architecture, window: float, blocks: Blocks) -> Step:
    """Return the step that measures *variants* of one middleware in the same blocks."""
    measure = partial(
        side_by_side, variants=variants, architecture=architecture, window_seconds=window, blocks=blocks
    )
    what = f"{' and '.join(MIDDLEWARES[name].label for name in variants)}, {architecture}"
    seconds = len(variants) * (START_SECONDS + window * sum(blocks))
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
