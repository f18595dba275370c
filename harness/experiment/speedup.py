"""Speedup: the same architecture at 1, 2, 3 ... nodes under the same offered concurrency."""

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from harness.experiment.bench import Bench
from harness.experiment.session import Step, needs
from harness.load.measure import Generators
from harness.record.run import Point
from lab.contract import Architecture
from lab.middleware import MIDDLEWARES
from lab.process.system import System

START_SECONDS = 2.0

CLIENTS = 24
"""A multiple of 1, 2, 3, 4, 6 and 8: unevenly shared clients would cost speedup that nodes have."""
LATENCY_BOUND = ("--work-time", "5ms")
CPU_BOUND = ("--work-cpu", "2ms")


Running = dict[tuple[str, int], tuple[System, Generators]]
"""By middleware and number of nodes."""


def speedup(
    bench: Bench,
    middlewares: Sequence[str],
    node_counts: Sequence[int],
    work: tuple[str, str],
    *,
    blocks: int,
    window_seconds: float,
    fresh: bool = False,
    clients: int = CLIENTS,
) -> Iterator[Point]:
    """Measure each of *middlewares* at each of *node_counts* in every one of *blocks*, in random order.

    *fresh*: new processes for each window, so that each is a trial; else the systems stay up between blocks,
    and the blocks are repetitions.
    """
    order = random.Random(bench.workload.seed)
    all_of_them = [(name, nodes) for name in middlewares for nodes in node_counts]
    with ExitStack() as stack:
        running = {} if fresh else _start(bench, all_of_them, work, stack, clients)
        for block in range(blocks):
            for each in order.sample(all_of_them, len(all_of_them)):
                with ExitStack() as trial:
                    system, load = (running or _start(bench, [each], work, trial, clients))[each]
                    yield bench.point(
                        "speedup",
                        system,
                        load,
                        partial(Generators.closed, seconds=window_seconds),
                        work=describe(work),
                        block=block,
                        is_trial=fresh,
                    )


def describe(work: tuple[str, str]) -> str:
    """Say in words what a text costs a node."""
    kind = "waiting" if work[0] == LATENCY_BOUND[0] else "computing"
    return f"{work[1]} {kind}"


def _start(
    bench: Bench,
    wanted: Sequence[tuple[str, int]],
    work: tuple[str, str],
    stack: ExitStack,
    clients: int,
) -> Running:
    """Start the systems, then the load generators of all side by side."""
    systems = {
        (name, nodes): stack.enter_context(bench.system(name, Architecture.N_NODE, nodes, work))
        for name, nodes in wanted
    }
    loads = {each: bench.load(system, clients) for each, system in systems.items()}
    for load in loads.values():
        stack.callback(load.close)
    return {each: (systems[each], loads[each].wait_ready()) for each in wanted}


def speedup_step(
    middlewares: Sequence[str],
    node_counts: Sequence[int],
    work: tuple[str, str],
    *,
    blocks: int,
    window: float,
    fresh: bool,
) -> Step:
    """Return the step that measures variants of one middleware at each of *node_counts* in every block."""
    windows = len(middlewares) * len(node_counts) * blocks
    starts = len(middlewares) * len(node_counts) * (blocks if fresh else 1)
    labels = " and ".join(MIDDLEWARES[name].label for name in middlewares)
    return Step(
        f"speedup: {labels}, {describe(work)}",
        starts * START_SECONDS + windows * window,
        needs(middlewares[0], Architecture.N_NODE),
        partial(
            speedup,
            middlewares=middlewares,
            node_counts=node_counts,
            work=work,
            blocks=blocks,
            window_seconds=window,
            fresh=fresh,
        ),
    )
