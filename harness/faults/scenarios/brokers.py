"""A broker killed (``kill -9``): nothing confirmed is lost; everyone resumes within 3 s after it answers."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from harness.faults.injector import Injector
from harness.faults.ledger import resumed
from harness.faults.load import Load, Stream
from harness.faults.rig import ALL, BOTH, Rig, Scenario, settled, systems, trial
from harness.faults.site import site
from harness.record.run import Check, FaultTrial
from lab.contract import Application
from lab.load.plans import Plan

CLIENTS = 6
RATE = 100.0
DOWN_SECONDS = 0.5
RESUMES_WITHIN_SECONDS = 3.0
FIRST_AT_SECONDS = 1.5
LONGEST_START_SECONDS = 20.0
"""For a broker to answer again; the load goes on until some seconds after that, then it is stopped."""


def broken(rig: Rig, middleware: str, kind: str) -> FaultTrial:
    """Kill the broker *kind*, start it again half a second later; 3 times at full size."""
    kills, between_seconds = rig.of((1, 2.0), (1, RESUMES_WITHIN_SECONDS + 1.0), (3, 15.0))
    answered: list[float] = []
    with ExitStack() as stack:
        sites = [
            stack.enter_context(site(middleware, application, rig.brokers)) for application in Application
        ]
        plan = Plan.constant(RATE, FIRST_AT_SECONDS + kills * (between_seconds + LONGEST_START_SECONDS))
        load = Load(systems(sites), Stream(rig.seed, BOTH), plan, CLIENTS)
        injector = Injector(load, sites, rig.seed)
        with load:
            injector.wait(FIRST_AT_SECONDS)
            for _ in range(kills):
                answered.append(injector.kill_broker(kind, DOWN_SECONDS))
                injector.wait(answered[-1] + between_seconds)
            load.stop()
        ended = settled(load, injector, sites)
    times = [resumed(load.start_ns + int(at * 1e9), ended.entries) for at in answered]
    worst = None if None in times else max(filter(None, times), default=None)
    checks = [Check("all clients served after the port answers", worst, RESUMES_WITHIN_SECONDS, "s")]
    figures = {"kills": float(len(answered))}
    return trial(f"{kind}-killed", middleware, rig, ended, checks, figures=figures)


def _scenario(kind: str, middlewares: tuple[str, ...], seconds: float) -> Scenario:
    run: Callable[[Rig, str], FaultTrial] = partial(broken, kind=kind)
    promise = f"{kind} killed 3 times: nothing confirmed is lost, all resume within 3 s after it answers"
    return Scenario(f"{kind}-killed", promise, run, seconds, 75.0, middlewares)


REDIS_KILLED = _scenario("redis", ALL, 13.0)
RABBITMQ_KILLED = _scenario("rabbitmq", ("rabbitmq",), 18.0)
