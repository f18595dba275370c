"""Nodes and masters that are killed or frozen under load."""

import time
from contextlib import ExitStack

from harness.faults.injector import Injector, times
from harness.faults.ledger import percentile
from harness.faults.load import HANG_SECONDS, Load, Stream
from harness.faults.rig import (
    ALL,
    BOTH,
    DIRECT,
    LEAST_ANSWERED_PERCENT,
    TEXTS,
    Rig,
    Scenario,
    delays_at_faults,
    settled,
    systems,
    trial,
)
from harness.faults.site import Site, site
from harness.load.generator import now
from harness.record.run import Check, FaultTrial
from lab.contract import Application
from lab.errors import LabError
from lab.load.plans import Plan
from lab.topology import MASTER

KILL_CLIENTS = 8
TAKEN_OVER_SECONDS = 2.0


def kills(rig: Rig, middleware: str) -> FaultTrial:
    """Kill nodes of both applications, 3 nodes each, while texts and insults come."""
    seconds, count, requests = rig.of((2.5, 2, 500), (6.0, 4, 1_200), (60.0, 20, 20_000))
    with ExitStack() as stack:
        sites = [
            stack.enter_context(site(middleware, application, rig.brokers)) for application in Application
        ]
        plan = Plan.constant(requests / seconds, seconds)
        load = Load(systems(sites), Stream(rig.seed, BOTH), plan, KILL_CLIENTS)
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


FROZEN_CLIENTS = 4
FROZEN_RATE = 30.0
WORK = ("--work-time", "50ms")
"""At this rate a node is at work half of the time: the frozen one very likely holds a text."""
MOVES_WITHIN_SECONDS = 15.0
AFTER_THAW_SECONDS = 2.0


def frozen(rig: Rig, middleware: str) -> FaultTrial:
    """Freeze one of three nodes at work; thaw it when its work has moved, or after 30 s at full size."""
    seconds = rig.of(2.0, 3.0, 32.0)
    with site(middleware, Application.FILTER, rig.brokers, node_arguments=WORK) as system:
        load = Load(
            {Application.FILTER: system},
            Stream(rig.seed, TEXTS),
            Plan.constant(FROZEN_RATE, seconds),
            FROZEN_CLIENTS,
        )
        injector = Injector(load, [system], rig.seed)
        with load:
            injector.wait(1.0)
            node = injector.chance.choice(system.live)
            place = injector.freeze(system, node)
            try:
                injector.wait(float("inf"))
                left = MOVES_WITHIN_SECONDS - (load.seconds() - injector.faults[place].at_seconds)
                moved = settled(load, injector, [system], max(left, 0.0))
            finally:
                injector.thaw(node, place)
        time.sleep(AFTER_THAW_SECONDS)  # the zombie's time to do harm; nothing tells when it has tried
        ended = settled(load, injector, [system])
        # Counted where a shared store hands out leases; elsewhere a late result has nowhere to go.
        figures = {"late results refused": float(system.fenced())} if system.middleware.is_direct else {}
    fault = injector.judged(moved.entries, moved.found)[place]
    checks = [
        Check("not moved while it was frozen", len(moved.account.lost), 0),
        Check("work moved", fault.recovery_seconds, MOVES_WITHIN_SECONDS, "s"),
    ]
    return trial("frozen", middleware, rig, ended, checks, figures=figures)


FROZEN = Scenario(
    "frozen",
    "a node stopped for 30 s: its work moves within 15 s, its late results are refused",
    frozen,
    15.0,
    50.0,
)


MASTER_CLIENTS = 4
MASTER_RATE = 100.0
BACK_WITHIN_SECONDS = 1.0
GIVE_UP_SECONDS = 20.0
NEW_CLIENT_DEADLINE_SECONDS = 2.0


def masters(rig: Rig, middleware: str) -> FaultTrial:
    """Kill the master, look what new clients are told meanwhile, and when they are served again."""
    kills, seconds = rig.of((1, 3.0), (1, 5.0), (10, 60.0))
    back: list[float | None] = []
    waits: list[float] = []
    with site(middleware, Application.FILTER, rig.brokers) as system:
        load = Load(
            {Application.FILTER: system},
            Stream(rig.seed, TEXTS),
            Plan.constant(MASTER_RATE, seconds),
            MASTER_CLIENTS,
        )
        injector = Injector(load, [system], rig.seed)

        def strike() -> None:
            injector.kill_and_wait(system, MASTER)
            back.append(_served_again(system, waits))

        with load:
            injector.follow([(1.0 + place * (seconds - 2) / kills, strike) for place in range(kills)])
        ended = settled(load, injector, [system])
    worst = None if None in back else max(filter(None, back), default=None)
    checks = [
        Check("a new client is served after the restart", worst, BACK_WITHIN_SECONDS, "s"),
        Check("slowest new client", max(waits), NEW_CLIENT_DEADLINE_SECONDS + HANG_SECONDS, "s"),
        Check("answered", ended.answered_percent, 99.0, "%", is_least=True),
    ]
    return trial("masters", middleware, rig, ended, checks, figures={"kills": float(len(back))})


def _served_again(system: Site, waits: list[float]) -> float | None:
    """Return after how many seconds a new client is served; add to *waits* how long each one waited."""
    start = now()
    while now() - start < GIVE_UP_SECONDS * 1e9:
        asked = now()
        try:
            with system.filter(NEW_CLIENT_DEADLINE_SECONDS) as client:
                client.filter("new client")
        except LabError:
            waits.append((now() - asked) / 1e9)
            time.sleep(0.02)
        else:
            waits.append((now() - asked) / 1e9)
            return (now() - start) / 1e9
    return None


MASTERS = Scenario(
    "masters",
    "the master killed under load: back within 1 s of its restart, no client hangs",
    masters,
    10.0,
    70.0,
    DIRECT,
)
