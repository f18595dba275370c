"""The length of ``lab faults``: private brokers, trial after trial, the soak, and what is written."""

import os
import random
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from harness.experiment.session import FAILED, GOOD, Steps, record
from harness.faults.load import Load, Stream
from harness.faults.rig import BOTH, Injector, Rig, Scenario, Size, settled, systems, trial
from harness.faults.scenarios.input import BOMBS, MALFORMED
from harness.faults.scenarios.network import (
    NETWORK,
    RABBITMQ_KILLED,
    REDIS_KILLED,
    REPLIES,
    SILENT,
    SUBSCRIBERS,
)
from harness.faults.scenarios.nodes import DRAIN, FROZEN, KILLS, MASTERS, POISONED
from harness.faults.scenarios.operators import CLOCK, DELETED, FULL, TWICE
from harness.faults.site import NODES, Brokers, Site, site
from harness.record.journal import Journal, environment
from harness.record.ledger import CannotKeep
from harness.record.run import Check, FaultTrial, Run
from harness.report.faults import describe_fault, must_hold, verdict
from lab.brokers import Broker, rabbitmq_broker, redis_broker
from lab.cli.brokers import say
from lab.contract import Application, Architecture
from lab.errors import Unavailable
from lab.load.plans import Plan
from lab.middleware import MIDDLEWARES
from lab.settings import settings
from lab.topology import MASTER

_NODES = (KILLS, FROZEN, MASTERS, POISONED, DRAIN)
_BROKERS_AND_NETWORK = (REDIS_KILLED, RABBITMQ_KILLED, REPLIES, NETWORK)
_CLIENTS = (MALFORMED, BOMBS, SILENT, SUBSCRIBERS)
_OPERATORS = (DELETED, FULL, TWICE, CLOCK)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for scenario in (*_NODES, *_BROKERS_AND_NETWORK, *_CLIENTS, *_OPERATORS)
}

SOAK = "all side by side for long, and a fault every 30 s: nothing is lost, and nothing grows"
SOAK_START_SECONDS = 30.0
"""About what it takes to start and end eight systems."""


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for on the command line."""

    scenarios: Sequence[Scenario]
    middlewares: Sequence[str]
    seed: int
    size: Size
    results: Path
    soak_seconds: float = 0.0
    """Instead of scenarios: all middlewares side by side for this time; 0: no."""


def conduct(order: Order) -> int:
    """Make the trials; write data, plots, a table and a report, also when interrupted.

    Return 0; 1 if a threshold was not kept or a system failed; 130 if interrupted.
    """
    asked = {scenario.name: scenario.promise for scenario in order.scenarios}
    configuration: dict[str, object] = {
        "seed": order.seed,
        "form": str(order.size),
        "scenarios": asked,
        "middlewares": list(order.middlewares),
    }
    run = Run("faults", configuration, environment())
    if left_out := [name for name in SCENARIOS if name not in asked]:
        run.notes.append(f"Scenarios that were not run: {', '.join(left_out)}.")

    def measure(journal: Journal) -> int:
        with private(run, _needed(order)) as brokers:
            journal.update()
            rig = Rig(brokers, order.seed, order.size)
            return _soak(order, rig, journal) if order.soak_seconds else _measure(order, rig, journal)

    return record(run, order.results, measure)


@contextmanager
def private(run: Run, kinds: frozenset[str]) -> Iterator[Brokers]:
    """Start private brokers of these *kinds*, as many as can be had, and say which."""
    found: dict[str, Broker] = {}
    starts = {"redis": redis_broker, "rabbitmq": rabbitmq_broker}
    with ExitStack() as stack:
        for kind in sorted(kinds):
            start = starts[kind]
            try:
                found[kind] = stack.enter_context(start(settings(), private=True))
                say(found[kind].describe())
            except Unavailable as error:
                if settings().require_brokers:
                    raise
                run.notes.append(f"Skipped what needs {kind}: {error.message}")
                say(run.notes[-1])
        run.environment["brokers"] = [broker.describe() for broker in found.values()]
        yield Brokers(found)


def _needed(order: Order) -> frozenset[str]:
    needs = (MIDDLEWARES[name].needed_brokers(Architecture.N_NODE) for name in order.middlewares)
    return frozenset[str]().union(*needs)


def _measure(order: Order, rig: Rig, journal: Journal) -> int:
    code = GOOD
    todo = [
        (scenario, name)
        for scenario in order.scenarios
        for name in order.middlewares
        if name.partition(":")[0] in scenario.middlewares
    ]
    seconds = [each.full_seconds if order.size is Size.FULL else each.seconds for each, _ in todo]
    with Steps(sum(seconds)) as progress:
        for (scenario, name), expected in zip(todo, seconds, strict=True):
            progress.step(f"{scenario.name}: {MIDDLEWARES[name].label}", expected)
            broker = MIDDLEWARES[name].needed_brokers(Architecture.N_NODE) - set(rig.brokers.by_kind)
            if missing := "a broker that it needs is not here" if broker else scenario.missing():
                journal.run.notes.append(f"Skipped {scenario.name}, {MIDDLEWARES[name].label}: {missing}.")
                progress.say(journal.run.notes[-1])
                continue
            try:
                trial = scenario.run(rig, name)
            except CannotKeep:
                raise
            except Exception as error:  # noqa: BLE001 (a trial that breaks must not lose the others)
                if settings().log_level == "DEBUG":
                    traceback.print_exc()
                trial = _broken_off(scenario, name, rig, error)
            journal.keep(trial)
            progress.say(describe_fault(trial), verdict(trial))
            code = code if trial.holds or not must_hold(trial) else FAILED
    return code


def _soak(order: Order, rig: Rig, journal: Journal) -> int:
    run = journal.run
    run.configuration |= {"form": "soak", "soak_seconds": order.soak_seconds, "scenarios": {"soak": SOAK}}
    with Steps(order.soak_seconds + SOAK_START_SECONDS) as progress:
        progress.step("soak: all side by side", order.soak_seconds + SOAK_START_SECONDS)
        for trial in soak(rig, order.middlewares, order.soak_seconds, progress.say):
            journal.keep(trial)
            progress.say(describe_fault(trial), verdict(trial))
    return GOOD if all(trial.holds for trial in run.faults) else FAILED


def _broken_off(scenario: Scenario, middleware: str, rig: Rig, error: Exception) -> FaultTrial:
    """Return the record of a trial that could not be finished: no bar was kept."""
    checks = [Check("trials that came to their end", None, 1.0, is_least=True)]
    architecture, note = str(Architecture.N_NODE), f"broken off: {error!r}"
    return FaultTrial(
        scenario.name, middleware, architecture, NODES, rig.seed, 0.0, checks, notes=[note[:500]]
    )


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
