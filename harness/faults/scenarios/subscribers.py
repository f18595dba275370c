"""One of 20 subscribers frozen: the others on time; it catches up, or is told the gap."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from harness.faults.load import until
from harness.faults.rig import Rig, Scenario
from harness.faults.site import Site, site
from harness.load.generator import now
from harness.record.run import Check, Fault, FaultTrial
from lab.bootstrap import ROOT
from lab.contract import Application, Architecture, Subscription
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
    "1 of 20 subscribers frozen for 60 s: the others on time, it catches up or is told the gap",
    subscribers,
    12.0,
    95.0,
)
