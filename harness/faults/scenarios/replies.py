"""Replies that are lost after execution, and worse networks: no effect twice, and nobody waits for ever."""

from contextlib import ExitStack
from functools import partial

from harness.faults.injector import Injector
from harness.faults.load import Load, Stream
from harness.faults.proxy import Harm, Proxy
from harness.faults.rig import BOTH, Rig, Scenario, settled, systems, trial
from harness.faults.site import site
from harness.record.trials import Check, FaultTrial
from lab.contract import Application
from lab.load.plans import Plan

CLIENTS = 6
DEADLINE_SECONDS = 2.0
"""A black hole costs its client a whole deadline."""
LOST = {Harm.DROP: 0.005, Harm.RESET: 0.005}
WORSE = {
    Harm.DELAY: 0.02,
    Harm.DROP: 0.005,
    Harm.RESET: 0.005,
    Harm.HALF_CLOSE: 0.005,
    Harm.BLACK_HOLE: 0.005,
    Harm.TRICKLE: 0.02,
}


def replies(rig: Rig, middleware: str, name: str, harms: dict[Harm, float]) -> FaultTrial:
    """Let clients reach nodes, or the broker, through a proxy that does *harms* to replies."""
    requests, seconds = rig.of((500, 2.5), (1_000, 5.0), (20_000, 100.0))
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(rig.seed, harms))
        sites = [
            stack.enter_context(site(middleware, application, rig.brokers, proxy=proxy))
            for application in Application
        ]
        plan = Plan.constant(requests / seconds, seconds)
        load = Load(systems(sites), Stream(rig.seed, BOTH), plan, CLIENTS, DEADLINE_SECONDS)
        injector = Injector(load, sites, rig.seed)
        proxy.is_armed = True
        with load:
            injector.wait(float("inf"))
        proxy.is_armed = False
        ended = settled(load, injector, sites)
    done = {f"{harm} of replies": float(count) for harm, count in sorted(proxy.done.items())}
    harmed = Check("replies harmed", float(proxy.done.total()), 1.0, is_least=True)
    figures = {"replies": float(proxy.replies), **done}
    return trial(name, middleware, rig, ended, [harmed], figures=figures)


REPLIES = Scenario(
    "replies",
    "1 % of replies lost after execution: no effect twice",
    partial(replies, name="replies", harms=LOST),
    10.0,
    115.0,
)
NETWORK = Scenario(
    "network",
    "replies delayed, dropped, reset, half-closed, swallowed or byte by byte: nobody hangs, nothing is lost",
    partial(replies, name="network", harms=WORSE),
    12.0,
    120.0,
)
