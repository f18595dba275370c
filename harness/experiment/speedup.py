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

START_SECONDS = 2.5

CLIENTS = 24
"""A multiple of 1, 2, 3, 4, 6 and 8: unevenly shared clients would cost speedup that nodes have."""
LATENCY_BOUND = ("--work-time", "5ms")
CPU_BOUND = ("--work-cpu", "2ms")


def speedup(
    bench: Bench,
    middleware: str,
    node_counts: Sequence[int],
    work: tuple[str, str],
    *,
    blocks: int,
    window_seconds: float,
    fresh: bool = False,
    clients: int = CLIENTS,
) -> Iterator[Point]:
    """Measure each of *node_counts* in every one of *blocks*, in random order.

    *fresh*: new processes for each window, so that each is a trial; else the systems stay up between blocks,
    and the blocks are repetitions.
    """
    order = random.Random(bench.workload.seed)
    with ExitStack() as stack:
        running = {} if fresh else _start(bench, middleware, node_counts, work, stack, clients)
        for block in range(blocks):
            for nodes in order.sample(list(node_counts), len(node_counts)):
                with ExitStack() as trial:
                    ready = running or _start(bench, middleware, [nodes], work, trial, clients)
                    system, load = ready[nodes]
                    yield bench.point(
                        "speedup",
                        system,
                        load,
                        partial(Generators.closed, seconds=window_seconds),
                        work=describe(work),
                        block=block,
                    )


def describe(work: tuple[str, str]) -> str:
    """Say in words what a text costs a node."""
    kind = "waiting" if work[0] == LATENCY_BOUND[0] else "computing"
    return f"{work[1]} {kind}"


def _start(
    bench: Bench,
    middleware: str,
    node_counts: Sequence[int],
    work: tuple[str, str],
    stack: ExitStack,
    clients: int,
) -> dict[int, tuple[System, Generators]]:
    """Start a system for each of *node_counts*, then the load generators of all side by side."""
    systems = {
        nodes: stack.enter_context(bench.system(middleware, Architecture.N_NODE, nodes, work))
        for nodes in node_counts
    }
    loads = {nodes: bench.load(system, clients) for nodes, system in systems.items()}
    for load in loads.values():
        stack.callback(load.close)
    return {nodes: (systems[nodes], loads[nodes].wait_ready()) for nodes in node_counts}


def speedup_step(
    middleware: str,
    node_counts: Sequence[int],
    work: tuple[str, str],
    *,
    blocks: int,
    window: float,
    fresh: bool,
) -> Step:
    """Return the step that measures one middleware at each of *node_counts* in every block."""
    starts = len(node_counts) * (blocks if fresh else 1)
    return Step(
        f"speedup: {MIDDLEWARES[middleware].label}, {describe(work)}",
        starts * START_SECONDS + blocks * len(node_counts) * window,
        needs(middleware, Architecture.N_NODE),
        partial(
            speedup,
            middleware=middleware,
            node_counts=node_counts,
            work=work,
            blocks=blocks,
            window_seconds=window,
            fresh=fresh,
        ),
    )
