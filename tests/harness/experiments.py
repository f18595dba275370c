"""The experiments on one system. Each yields its points as it measures them, so that nothing is lost."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab.cluster import BrokerUrls, Cluster, SystemSpec
from lab.contract import Application, Architecture
from tests.harness.measure import Generators
from tests.harness.record import Point
from tests.harness.samples import Window
from tests.harness.workload import Workload

GENERATOR_PROCESSES = 2
STRESS_CLIENTS = 4
PIPELINE = 50
FIRST_REQUESTS = 25
MOST_REQUESTS = 100_000
"""Per client, as in the classic experiment; the budget usually ends it earlier."""
SPEEDUP_CLIENTS = 24
"""A multiple of 1, 2, 3, 4, 6 and 8: unevenly shared clients would cost speedup that nodes have."""
N_NODES = 3


@dataclass(frozen=True, slots=True)
class Budget:
    """How much time the measurements of one system may take, in seconds."""

    ramp: float = 3.5
    pipelined: float = 1.5
    speedup_window: float = 2.0


def stress(
    middleware: str, architecture: Architecture, workload: Workload, brokers: BrokerUrls, budget: Budget
) -> Iterator[Point]:
    """Measure request/reply with 4 clients over a growing number of requests, then with 50 in flight each."""
    nodes = N_NODES if architecture is Architecture.N_NODE else 1
    spec = SystemSpec(middleware, workload.application, architecture, nodes)
    with Cluster(spec, brokers) as system:
        seed_service(system, workload)
        with Generators(
            middleware, system.target, workload, STRESS_CLIENTS, processes=GENERATOR_PROCESSES
        ) as clients:
            for window in _ramp(budget.ramp):
                measurement = clients.run(window)
                yield Point("stress", middleware, architecture, nodes, STRESS_CLIENTS, 1, measurement)
        if workload.application is Application.SERVICE:
            return
        with Generators(
            middleware,
            system.target,
            workload,
            STRESS_CLIENTS,
            processes=GENERATOR_PROCESSES,
            in_flight=PIPELINE,
        ) as clients:
            measurement = clients.run(Window(seconds=budget.pipelined))
            yield Point("stress", middleware, architecture, nodes, STRESS_CLIENTS, PIPELINE, measurement)


def speedup(
    middleware: str,
    node_counts: Sequence[int],
    work: str,
    workload: Workload,
    brokers: BrokerUrls,
    budget: Budget,
) -> Iterator[Point]:
    """Measure n-node at each of *node_counts* (ascending) under one load; *work* is a ``--work-time``."""
    spec = SystemSpec(
        middleware,
        Application.FILTER,
        Architecture.N_NODE,
        node_counts[0],
        node_arguments=("--work-time", work),
    )
    with Cluster(spec, brokers) as system:
        for nodes in node_counts:
            while len(system.nodes) < nodes:
                system.add_node()
            with Generators(
                middleware, system.target, workload, SPEEDUP_CLIENTS, processes=GENERATOR_PROCESSES
            ) as clients:
                measurement = clients.run(Window(seconds=budget.speedup_window))
            yield Point(
                "speedup",
                middleware,
                Architecture.N_NODE,
                nodes,
                SPEEDUP_CLIENTS,
                1,
                measurement,
                f"{work} waiting",
            )


def seed_service(system: Cluster, workload: Workload) -> None:
    """Store the insults that ``insult_me`` is to hand out."""
    if workload.application is not Application.SERVICE:
        return
    from lab.data import default_insults

    with system.service() as client:
        for insult in default_insults():
            client.add_insult(insult)


def _ramp(budget_seconds: float) -> Iterator[Window]:
    """Yield windows of twice as many requests each, until the next would pass the budget."""
    requests = FIRST_REQUESTS
    start = time.monotonic()
    while True:
        before = time.monotonic()
        yield Window(requests=requests)
        took = time.monotonic() - before
        requests *= 2
        if requests > MOST_REQUESTS or time.monotonic() - start + 2 * took > budget_seconds:
            return
