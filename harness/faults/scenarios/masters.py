"""The master killed under load: back within 1 s of its restart, and no client hangs beyond its deadline."""

import time

from harness.faults.injector import Injector
from harness.faults.load import HANG_SECONDS, Load, Stream
from harness.faults.rig import DIRECT, TEXTS, Rig, Scenario, settled, trial
from harness.faults.site import Site, site
from harness.load.loops import now
from harness.record.trials import Check, FaultTrial
from lab.contract import Application
from lab.errors import LabError
from lab.load.plans import Plan
from lab.topology import MASTER

CLIENTS = 4
RATE = 100.0
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
            {Application.FILTER: system}, Stream(rig.seed, TEXTS), Plan.constant(RATE, seconds), CLIENTS
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
