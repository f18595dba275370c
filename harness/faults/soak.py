"""``--soak``: all four at once under a light load for long, a fault every 30 s; what grows is told."""

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import numpy as np
import psutil

from harness.faults.injector import Injector
from harness.faults.load import Load, Stream
from harness.faults.rig import BOTH, Rig, settled, systems, trial
from harness.faults.site import Site, site
from harness.record.run import Check, FaultTrial
from lab.contract import Application
from lab.load.plans import Plan
from lab.topology import MASTER

RATE = 10.0
CLIENTS = 2
FAULT_EVERY_SECONDS = 30.0
FROZEN_SECONDS = 5.0
SAMPLE_SECONDS = 5.0
SHORTEST_SHARE = 0.5
"""Of the soak, that a process must have lived for a slope to be told: a young one still fills its caches."""
LEAST_JUDGED_SECONDS = 600.0
TOO_SHORT = "memory is told and not judged: in under 10 minutes a process still fills its caches"
MOST_MIB_PER_HOUR = 20.0
MOST_FILES_GROWN = 20.0


@dataclass(slots=True)
class Growth:
    """Memory and open files of processes over time, by what they are called."""

    samples: dict[str, list[tuple[float, float, int]]] = field(default_factory=dict)
    """Seconds, MiB, open files."""

    def look(self, named: Mapping[str, int], seconds: float) -> None:
        """Take a sample of each of the processes *named*."""
        for name, pid in named.items():
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                memory = process.memory_info().rss / 2**20
                self.samples.setdefault(f"{name} ({pid})", []).append((seconds, memory, process.num_fds()))

    def slopes(self, least_seconds: float) -> dict[str, tuple[float, int]]:
        """Return MiB per hour, and files opened since the first quarter, of those that lived long enough."""
        found = {}
        for name, samples in self.samples.items():
            seconds, memory, files = (np.array(column, float) for column in zip(*samples, strict=True))
            settled_at = seconds >= seconds[0] + (seconds[-1] - seconds[0]) / 4
            if seconds[-1] - seconds[0] < least_seconds or settled_at.sum() < 3:
                continue
            slope = float(np.polyfit(seconds[settled_at] / 3600, memory[settled_at], 1)[0])
            grown = int(np.median(files[settled_at][-3:]) - np.median(files[settled_at][:3]))
            found[name] = (slope, grown)
        return found


@dataclass(slots=True)
class _One:
    """One middleware under soak."""

    name: str
    sites: list[Site]
    load: Load
    injector: Injector

    def processes(self) -> dict[str, int]:
        """Return the processes of its systems by what they are called."""
        return {
            f"{self.name} {system.spec.application} {role} {place}": handle.pid
            for system in self.sites
            for role, handles in system.handles.items()
            for place, handle in enumerate(handles, 1)
        }


def soak(rig: Rig, names: Sequence[str], seconds: float, say: Callable[[str], None]) -> list[FaultTrial]:
    """Run the middlewares *names* side by side for *seconds*; return a trial of each. *say* each fault."""
    chance, growth = random.Random(rig.seed), Growth()
    with ExitStack() as stack:
        ones = [_started(stack, rig, name, seconds) for name in names]
        for one in ones:
            stack.enter_context(one.load)
        fixed = {"clients": os.getpid()}
        for kind, broker in rig.brokers.by_kind.items():
            fixed[f"broker {kind}"] = broker.server.pid if broker.server else os.getpid()
        next_fault = next_sample = 0.0
        while any(one.load.running for one in ones):
            now = ones[0].load.seconds()
            if now >= next_sample:
                growth.look(fixed | {k: v for one in ones for k, v in one.processes().items()}, now)
                next_sample = now + SAMPLE_SECONDS
            if now >= next_fault + FAULT_EVERY_SECONDS and now < seconds - FAULT_EVERY_SECONDS / 2:
                next_fault += FAULT_EVERY_SECONDS
                one = chance.choice(ones)
                _strike(one, chance)
                fault = one.injector.faults[-1]
                say(f"{fault.at_seconds:,.0f} s: {fault.kind}, {one.name} {fault.target}")
            time.sleep(0.05)
        return [_judged(rig, one, growth, seconds) for one in ones]


def _started(stack: ExitStack, rig: Rig, name: str, seconds: float) -> _One:
    sites = [stack.enter_context(site(name, application, rig.brokers)) for application in Application]
    load = Load(systems(sites), Stream(rig.seed, BOTH), Plan.constant(RATE, seconds), CLIENTS)
    return _One(name, sites, load, Injector(load, sites, rig.seed))


def _strike(one: _One, chance: random.Random) -> None:
    """Do one of the faults to *one*."""
    has_master = MASTER in one.sites[0].handles
    what = chance.choice(["kill", "freeze", *(["master"] if has_master else [])])
    if what == "kill":
        one.injector.kill_node()
    elif what == "master":
        one.injector.kill_and_wait(chance.choice(one.sites), MASTER)
    else:
        system = chance.choice(one.sites)
        node = chance.choice(system.live)
        place = one.injector.freeze(system, node)
        try:
            time.sleep(FROZEN_SECONDS)  # how long it is frozen
        finally:
            one.injector.thaw(node, place)


def _judged(rig: Rig, one: _One, growth: Growth, seconds: float) -> FaultTrial:
    ended = settled(one.load, one.injector, one.sites)
    slopes = growth.slopes(SHORTEST_SHARE * seconds)
    mine = {name: slope for name, slope in slopes.items() if name.startswith(f"{one.name} ")}
    others = {name: slope for name, slope in slopes.items() if name.startswith(("clients", "broker "))}
    # What brokers keep grows with every request, and so does the clients' ledger: told, not judged.
    steepest = max((slope for slope, _ in mine.values()), default=None)
    grown = max((files for _, files in mine.values()), default=None)
    checks = [Check("open files, most grown", grown, MOST_FILES_GROWN)]
    if seconds >= LEAST_JUDGED_SECONDS:
        checks.append(Check("memory, steepest", steepest, MOST_MIB_PER_HOUR, "MiB/h"))
    told = (mine | others).items()
    notes = [] if seconds >= LEAST_JUDGED_SECONDS else [TOO_SHORT]
    notes += [f"{name}: {slope:+.1f} MiB/h, {files:+d} files" for name, (slope, files) in told]
    return trial("soak", one.name, rig, ended, checks, notes=notes)
