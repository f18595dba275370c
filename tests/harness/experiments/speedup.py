"""Speedup: the same architecture at 1, 2, 3 ... nodes under the same offered concurrency."""

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from lab.cluster import Cluster
from lab.contract import Architecture
from tests.harness.bench import Bench
from tests.harness.measure import Generators
from tests.harness.record import Point

CLIENTS = 24
"""A multiple of 1, 2, 3, 4, 6 and 8: unevenly shared clients would cost speedup that nodes have."""
LATENCY_BOUND = ("--work-time", "5ms")
CPU_BOUND = ("--work-cpu", "2ms")
WORK = {LATENCY_BOUND: "5ms waiting", CPU_BOUND: "2ms computing"}


def speedup(
    bench: Bench,
    middleware: str,
    node_counts: Sequence[int],
    work: tuple[str, str],
    *,
    blocks: int,
    window_seconds: float,
    fresh: bool = False,
) -> Iterator[Point]:
    """Measure each of *node_counts* in every one of *blocks*, in random order.

    *fresh*: new processes for each window, so that each is a trial; else the systems stay up between blocks,
    and the blocks are repetitions.
    """
    order = random.Random(bench.workload.seed)
    with ExitStack() as stack:
        running = {} if fresh else {n: _start(bench, middleware, n, work, stack) for n in node_counts}
        for block in range(blocks):
            for nodes in order.sample(list(node_counts), len(node_counts)):
                with ExitStack() as trial:
                    system, load = running.get(nodes) or _start(bench, middleware, nodes, work, trial)
                    yield bench.point(
                        "speedup",
                        system,
                        load,
                        lambda load: load.closed(window_seconds),
                        work=describe(work),
                        block=block,
                    )


def describe(work: tuple[str, str]) -> str:
    """Say in words what a text costs a node."""
    kind = "waiting" if work[0] == LATENCY_BOUND[0] else "computing"
    return f"{work[1]} {kind}"


def _start(
    bench: Bench, middleware: str, nodes: int, work: tuple[str, str], stack: ExitStack
) -> tuple[Cluster, Generators]:
    system = stack.enter_context(bench.system(middleware, Architecture.N_NODE, nodes, work))
    return system, stack.enter_context(bench.load(system, CLIENTS))
