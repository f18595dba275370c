"""A node frozen (SIGSTOP): its work moves within 15 s, and the zombie's late result is refused."""

import time

from harness.faults.injector import Injector
from harness.faults.load import Load, Stream
from harness.faults.rig import TEXTS, Rig, Scenario, settled, trial
from harness.faults.site import site
from harness.record.trials import Check, FaultTrial
from lab.contract import Application
from lab.load.plans import Plan

CLIENTS = 4
RATE = 30.0
WORK = ("--work-time", "50ms")
"""At this rate a node is at work half of the time: the frozen one very likely holds a text."""
MOVES_WITHIN_SECONDS = 15.0
AFTER_THAW_SECONDS = 2.0


def frozen(rig: Rig, middleware: str) -> FaultTrial:
    """Freeze one of three nodes at work; thaw it when its work has moved, or after 30 s at full size."""
    seconds = rig.of(2.0, 3.0, 32.0)
    with site(middleware, Application.FILTER, rig.brokers, node_arguments=WORK) as system:
        load = Load(
            {Application.FILTER: system}, Stream(rig.seed, TEXTS), Plan.constant(RATE, seconds), CLIENTS
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
