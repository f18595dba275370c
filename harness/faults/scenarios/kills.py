"""``kill -9`` of random nodes under load: lost 0, each effect once, taken over within 2 s (p99)."""

from contextlib import ExitStack

from harness.faults.injector import Injector, times
from harness.faults.load import Load, Stream
from harness.faults.rig import (
    ALL,
    BOTH,
    LEAST_ANSWERED_PERCENT,
    Rig,
    Scenario,
    delays_at_faults,
    settled,
    systems,
    trial,
)
from harness.faults.site import site
from harness.faults.timeline import percentile
from harness.record.trials import Check, FaultTrial
from lab.contract import Application
from lab.load.plans import Plan

CLIENTS = 8
TAKEN_OVER_SECONDS = 2.0


def kills(rig: Rig, middleware: str) -> FaultTrial:
    """Kill nodes of both applications, 3 nodes each, while texts and insults come."""
    seconds, count, requests = rig.of((2.5, 2, 500), (6.0, 4, 1_200), (60.0, 20, 20_000))
    with ExitStack() as stack:
        sites = [
            stack.enter_context(site(middleware, application, rig.brokers)) for application in Application
        ]
        plan = Plan.constant(requests / seconds, seconds)
        load = Load(systems(sites), Stream(rig.seed, BOTH), plan, CLIENTS)
        injector = Injector(load, sites, rig.seed)
        with load:
            injector.follow([(at, injector.kill_node) for at in times(injector.chance, count, seconds)])
        ended = settled(load, injector, sites)
    delays = delays_at_faults(ended)
    checks = [
        Check("taken over, p99", percentile(delays, 0.99), TAKEN_OVER_SECONDS, "s"),
        Check("answered", ended.answered_percent, LEAST_ANSWERED_PERCENT, "%", is_least=True),
    ]
    figures = {"kills": float(len(injector.faults))}
    return trial("kills", middleware, rig, ended, checks, figures=figures)


KILLS = Scenario(
    "kills",
    "kill -9 of random nodes: lost 0, each effect once, taken over within 2 s (p99)",
    kills,
    12.0,
    75.0,
    ALL,
)
