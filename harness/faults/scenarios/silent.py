"""500 connections that say nothing: normal clients are not harmed."""

import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

from harness.faults.injector import Injector
from harness.faults.ledger import Entry, Outcome
from harness.faults.load import Load, Stream
from harness.faults.rig import Rig, Scenario, settled, systems, trial
from harness.faults.site import Site, site
from harness.faults.timeline import percentile
from harness.record.trials import Check, Fault, FaultTrial
from lab.contract import Application, Architecture
from lab.load.plans import Plan
from lab.operations import Operation

CONNECTIONS = 500
CLIENTS = 4
RATE = 100.0
SLOWER_AT_MOST = 1.2
LONGEST_OPENING_SECONDS = 30.0
LEAST_MS = 10.0
"""Below this a p99 harms nobody: a fifth of a millisecond's difference is the machine's."""


def silent(rig: Rig, middleware: str) -> FaultTrial:
    """Measure good clients alone, then beside 500 silent connections to the node, or to the broker."""
    half = rig.of(1.0, 2.0, 15.0)
    with (
        site(middleware, Application.SERVICE, rig.brokers, architecture=Architecture.ONE_NODE) as system,
        ExitStack() as stack,
    ):
        plan = Plan.constant(RATE, 2 * half + LONGEST_OPENING_SECONDS)
        load = Load(systems([system]), Stream(rig.seed, (Operation.ADD_INSULT,)), plan, CLIENTS)
        injector = Injector(load, [system], rig.seed)
        with load:
            injector.wait(half)
            at = load.seconds()
            address = _address(system)
            for _ in range(CONNECTIONS):
                stack.enter_context(socket.create_connection(address, 10.0))
            opened = load.seconds()
            fault = Fault("500 silent connections", "node or broker", round(at, 3), round(opened, 3))
            injector.faults.append(fault)
            injector.wait(opened + half)
            load.stop()
        ended = settled(load, injector, [system])
    # While they are opened, 500 at once, it is the opening that is felt: it is told, and not judged.
    begun_ns, open_ns = (load.start_ns + int(seconds * 1e9) for seconds in (at, opened))
    before = _p99([entry for entry in ended.entries if entry.done_ns < begun_ns])
    beside = _p99([entry for entry in ended.entries if entry.planned_ns >= open_ns])
    limit = max(LEAST_MS, SLOWER_AT_MOST * (before or 0.0))
    checks = [
        Check("answered", ended.answered_percent, 100.0, "%", is_least=True),
        Check("p99 beside them", beside, round(limit, 2), "ms"),
    ]
    figures = {"p99 before, ms": before or 0.0, "opened in, s": round(opened - at, 3)}
    return trial("silent", middleware, rig, ended, checks, figures=figures)


def _p99(entries: list[Entry]) -> float | None:
    times = [(e.done_ns - e.planned_ns) / 1e6 for e in entries if e.outcome is Outcome.ACKNOWLEDGED]
    return percentile(times, 0.99)


def _address(system: Site) -> tuple[str, int]:
    """Return where clients connect: the node, or the broker."""
    if system.middleware.is_direct:
        host, _, port = system.nodes[0].address.rpartition("@")[2].rpartition(":")
        return host.rpartition("/")[2], int(port)
    url = urlsplit(system.target.address)
    return str(url.hostname), url.port or 0


SILENT = Scenario("silent", "500 silent connections: normal clients unharmed", silent, 8.0, 40.0)
