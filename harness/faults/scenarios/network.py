"""Brokers that are killed, networks that lose replies, and connections and subscribers that are silent."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from harness.faults.load import Entry, Load, Outcome, Stream, percentile, resumed, until
from harness.faults.proxy import Harm, Proxy
from harness.faults.rig import ALL, BOTH, Injector, Rig, Scenario, settled, systems, trial
from harness.faults.site import Site, site
from harness.load.generator import now
from harness.record.run import Check, Fault, FaultTrial
from lab.bootstrap import ROOT
from lab.contract import Application, Architecture, Subscription
from lab.load.plans import Plan
from lab.operations import Operation
from lab.process.node import die_with

OTHERS = 19
ON_TIME_MS = 100.0
_TICK = re.compile(r"#(\d+) ")
_MISSED = re.compile(r"missed \d+: ([\d, ]+)")
Arrivals = dict[int, int]
"""When each tick came, by its number."""


def subscribers(rig: Rig, middleware: str) -> FaultTrial:
    """Let 19 subscribers note ticks here; freeze the one that is a process of its own, then thaw it."""
    interval, frozen_seconds, around = rig.of((0.3, 1.5, 2), (0.5, 3.0, 3), (5.0, 60.0, 2))
    arrivals: list[Arrivals] = [{} for _ in range(OTHERS)]
    with ExitStack() as stack:
        text = f"{interval * 1000:g}ms"
        system = stack.enter_context(site(middleware, Application.SERVICE, rig.brokers, interval=text))
        client = stack.enter_context(system.service())
        client.add_insult("tonto")
        subscriptions = [stack.enter_context(system.service()).subscribe() for _ in arrivals]
        stack.callback(_close, subscriptions)
        for subscription, mine in zip(subscriptions, arrivals, strict=True):
            _listen(subscription, mine)
        said = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-logs-"))) / "subscriber"
        process = stack.enter_context(_subscriber(system, said))
        stack.callback(process.kill)
        until(lambda: "waiting for ticks" in said.read_text(), 20.0)
        client.start_broadcast()
        begun = now()
        until(lambda: len(_heard(said)) >= around, 4 * around * interval + 20.0)
        os.kill(process.pid, signal.SIGSTOP)
        at = now()
        time.sleep(frozen_seconds)  # how long it is frozen
        os.kill(process.pid, signal.SIGCONT)
        thawed = now()
        last = max(arrivals[0])
        told = _wait_for(said, last + around, 4 * around * interval + 20.0)
        client.stop_broadcast()
    fault = Fault("SIGSTOP", "1 of 20 subscribers", (at - begun) / 1e9, (thawed - begun) / 1e9)
    return _judged(rig, middleware, interval, arrivals, told, fault)


def _judged(
    rig: Rig, middleware: str, interval: float, arrivals: list[Arrivals], told: set[int], fault: Fault
) -> FaultTrial:
    ticks = range(
        min(min(mine) for mine in arrivals if mine) + 1, max(max(mine) for mine in arrivals if mine)
    )
    late = [
        abs((mine[number] - mine[number - 1]) / 1e6 - interval * 1000)
        for mine in arrivals
        for number in ticks
        if number in mine and number - 1 in mine
    ]
    missed = sum(number not in mine for mine in arrivals for number in ticks)
    unknown = [number for number in ticks if number not in told]
    checks = [
        Check("others off their time, at most", max(late, default=None), ON_TIME_MS, "ms"),
        Check("ticks that others missed", missed, 0),
        Check("ticks of which the frozen one neither heard nor was told", len(unknown), 0),
    ]
    figures = {"ticks": float(len(ticks)), "interval, s": interval}
    seconds = (fault.until_seconds or 0) + interval
    architecture = str(Architecture.N_NODE)
    return FaultTrial(
        "subscribers", middleware, architecture, 3, rig.seed, round(seconds, 1), checks, {}, figures, [fault]
    )


def _listen(subscription: Subscription, arrivals: Arrivals) -> None:
    def note() -> None:
        for tick in subscription:
            arrivals[tick.number] = now()

    threading.Thread(target=note, daemon=True).start()


def _close(subscriptions: list[Subscription]) -> None:
    """Close all at once: one after the other takes seconds."""
    with ThreadPoolExecutor(len(subscriptions)) as pool:
        list(pool.map(lambda subscription: subscription.close(), subscriptions))


def _subscriber(system: Site, said: Path) -> "subprocess.Popen[bytes]":
    """Start the subscriber's program; what it says goes to a file."""
    target = system.target
    options = [
        "--address",
        target.address,
        "--namespace",
        target.namespace,
        "--architecture",
        target.architecture,
    ]
    environment = {**os.environ, **system.brokers.urls.environment(), "PYTHONUNBUFFERED": "1"}
    parent = os.getpid()
    with said.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", *system.middleware.program("subscriber"), *options],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=lambda: die_with(parent),
        )


def _heard(said: Path) -> set[int]:
    """Return the numbers of the ticks that the program printed, or said it had missed."""
    text = said.read_text(encoding="utf-8")
    missed = {int(number) for found in _MISSED.findall(text) for number in found.split(",")}
    return {int(number) for number in _TICK.findall(text)} | missed


def _wait_for(said: Path, number: int, seconds: float) -> set[int]:
    deadline = time.monotonic() + seconds
    while number not in _heard(said) and time.monotonic() < deadline:
        time.sleep(0.05)
    return _heard(said)


SUBSCRIBERS = Scenario(
    "subscribers",
    "1 of 20 subscribers is frozen: the others are on time, it is told what it missed",
    subscribers,
    12.0,
    95.0,
)

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
    promise = f"{kind} is killed: nothing confirmed is lost, all go on within 3 s after it answers again"
    return Scenario(f"{kind}-killed", promise, run, seconds, 75.0, middlewares)


REDIS_KILLED = _scenario("redis", ALL, 13.0)
RABBITMQ_KILLED = _scenario("rabbitmq", ("rabbitmq",), 18.0)

REPLY_CLIENTS = 6
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
        load = Load(systems(sites), Stream(rig.seed, BOTH), plan, REPLY_CLIENTS, DEADLINE_SECONDS)
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
    "1 % of the replies are lost after the work is done: no effect happens twice",
    partial(replies, name="replies", harms=LOST),
    10.0,
    115.0,
)
NETWORK = Scenario(
    "network",
    "replies are delayed, lost, cut off or come byte by byte: nobody hangs, nothing is lost",
    partial(replies, name="network", harms=WORSE),
    12.0,
    120.0,
)

CONNECTIONS = 500
SILENT_CLIENTS = 4
SILENT_RATE = 100.0
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
        plan = Plan.constant(SILENT_RATE, 2 * half + LONGEST_OPENING_SECONDS)
        load = Load(systems([system]), Stream(rig.seed, (Operation.ADD_INSULT,)), plan, SILENT_CLIENTS)
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


SILENT = Scenario("silent", "500 connections say nothing: other clients do not suffer", silent, 8.0, 40.0)
