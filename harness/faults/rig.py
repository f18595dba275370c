"""What scenarios share: brokers, seed, size, faults at their times, and how a trial is judged in the end."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

from harness.faults.load import (
    BUG,
    HANG_SECONDS,
    Account,
    Entry,
    Found,
    Load,
    Outcome,
    bugs,
    close,
    held_up,
    timeline,
    until,
)
from harness.faults.site import Brokers, Site
from harness.record.run import Check, Fault, FaultTrial
from lab.contract import Application
from lab.middleware import MIDDLEWARES
from lab.operations import Operation
from lab.process.launcher import Handle
from lab.topology import NODE

LOOK_SECONDS = 0.02
RESTART_SECONDS = 30.0
Act = Callable[[], None]


@dataclass(slots=True)
class Injector:
    """Does what it is told to *sites* while *load* runs, and writes down when."""

    load: Load
    sites: Sequence[Site]
    seed: int
    faults: list[Fault] = field(default_factory=list)
    chance: random.Random = field(init=False)
    _pids: dict[int, int] = field(default_factory=dict)
    """Of the processes that were killed, by the place of the fault."""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def kill_node(self) -> None:
        """kill -9 a random live node of a random site; its supervisor starts it again."""
        site = self.chance.choice(until(lambda: [site for site in self.sites if site.live]))
        node = self.chance.choice(site.live)
        self._noted("kill -9", site, NODE, node)
        site.launcher.kill(node)

    def freeze(self, site: Site, node: Handle) -> int:
        """SIGSTOP a node; return the place of the fault, for :meth:`thaw`."""
        place = self._noted("SIGSTOP", site, NODE, node)
        os.kill(node.pid, signal.SIGSTOP)
        return place

    def thaw(self, node: Handle, place: int) -> None:
        """SIGCONT it."""
        os.kill(node.pid, signal.SIGCONT)
        self._over(place)

    def kill_and_wait(self, site: Site, role: str) -> None:
        """kill -9 the only process of *role*; wait until its supervisor has started it again."""
        handle = site.handles[role][0]
        self._noted("kill -9", site, role, handle)
        site.launcher.kill(handle)
        until(lambda: handle.pid in site.restarts(), RESTART_SECONDS)

    def kill_broker(self, kind: str, down_seconds: float) -> float:
        """kill -9 a private broker and start it again on its port; return when it answered."""
        brokers = self.sites[0].brokers
        self.faults.append(Fault("kill -9", kind, round(self.load.seconds(), 3)))
        brokers.kill(kind)
        try:
            time.sleep(down_seconds)  # a fault that lasts, not a wait for something
        finally:
            brokers.restart(kind)  # also at Ctrl-C: the systems want to delete what they made
        return self._over(len(self.faults) - 1)

    def follow(self, schedule: Iterable[tuple[float, Act]]) -> None:
        """Do each act when it is due, in seconds of the load; wait until the load is over."""
        for at_seconds, act in sorted(schedule, key=lambda due: due[0]):
            self.wait(at_seconds)
            if not self.load.running:
                return
            act()
        self.wait(float("inf"))

    def wait(self, until_seconds: float) -> None:
        """Wait until then, or until the load is over."""
        while self.load.running and self.load.seconds() < until_seconds:
            time.sleep(LOOK_SECONDS)

    def judged(self, entries: Sequence[Entry], found: Sequence[Found] = ()) -> list[Fault]:
        """Return the faults with how long each held up what was under way."""
        ready = {pid: ns for site in self.sites for pid, ns in site.restarts().items()}
        judged = []
        for place, fault in enumerate(self.faults):
            delays = held_up(self.load.start_ns + int(fault.at_seconds * 1e9), entries, found)
            until = fault.until_seconds
            if self._pids.get(place) in ready:
                until = round((ready[self._pids[place]] - self.load.start_ns) / 1e9, 3)
            recovery = round(max(delays), 3) if delays else None
            judged.append(replace(fault, until_seconds=until, recovery_seconds=recovery))
        return judged

    def _noted(self, kind: str, site: Site, role: str, handle: Handle) -> int:
        number = [other.pid for other in site.handles[role]].index(handle.pid) + 1
        what = f"{site.spec.application} {role} {number}"
        self.faults.append(Fault(kind, what, round(self.load.seconds(), 3)))
        if kind == "kill -9":
            self._pids[len(self.faults) - 1] = handle.pid
        return len(self.faults) - 1

    def _over(self, place: int) -> float:
        until = self.load.seconds()
        self.faults[place] = replace(self.faults[place], until_seconds=round(until, 3))
        return until


def times(chance: random.Random, count: int, seconds: float) -> list[float]:
    """Return *count* times, one at random in the middle of each of as many equal parts of *seconds*."""
    part = seconds / count
    return [part * (place + chance.uniform(0.25, 0.75)) for place in range(count)]


T = TypeVar("T")
SETTLE_SECONDS = 20.0
SLICES = 60
LEAST_ANSWERED_PERCENT = 99.0
"""Nothing would be lost, either, if nothing were answered."""
ALL = tuple(MIDDLEWARES)
DIRECT = tuple(name for name, middleware in MIDDLEWARES.items() if middleware.is_direct)
BOTH = (Operation.SUBMIT, Operation.FILTER, Operation.ADD_INSULT, Operation.SUBMIT)
"""A mix over both applications."""
TEXTS = (Operation.SUBMIT, Operation.FILTER)


class Size(StrEnum):
    """How much of a scenario is run."""

    BRIEF = "brief"
    """For the tests: as little as can show that it works."""
    REDUCED = "reduced"
    """Seconds."""
    FULL = "full"
    """What is promised."""


@dataclass(frozen=True, slots=True)
class Rig:
    """What a scenario is given."""

    brokers: Brokers
    seed: int = 1
    size: Size = Size.REDUCED

    def of(self, brief: T, reduced: T, full: T) -> T:
        """Return what is meant for this size."""
        return {Size.BRIEF: brief, Size.REDUCED: reduced, Size.FULL: full}[self.size]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A line of the table of what is promised; *run* makes one trial over a middleware."""

    name: str
    promise: str
    run: Callable[[Rig, str], FaultTrial]
    seconds: float
    """About what a trial takes at reduced size."""
    full_seconds: float
    middlewares: Sequence[str] = ALL
    missing: Callable[[], str] = str
    """Say what it needs beside brokers and is not here, with the fix; empty: nothing."""


@dataclass(slots=True)
class Ended:
    """A load that is over, and what was found of it."""

    load: Load
    injector: Injector
    entries: list[Entry]
    found: list[Found]
    account: Account

    @property
    def answered_percent(self) -> float:
        """The share of the requests that was acknowledged."""
        return 100 * self.account.outcomes[Outcome.ACKNOWLEDGED] / max(1, len(self.entries))


def settled(
    load: Load,
    injector: Injector,
    sites: Sequence[Site],
    seconds: float = SETTLE_SECONDS,
    leave_out: frozenset[str] = frozenset(),
) -> Ended:
    """Read back what was applied, once all that was acknowledged is there or *seconds* are over.

    *leave_out*: tokens of requests that were promised something else.
    """
    entries = [entry for entry in load.entries if entry.token not in leave_out]
    found = [one for site in sites for one in site.settle(entries, load.stream, seconds)]
    found = [one for one in found if one.token not in leave_out]
    worked = [token for site in sites for token in site.worked()]
    return Ended(load, injector, entries, found, close(entries, found, worked))


def ledger_checks(ended: Ended) -> list[Check]:
    """Return the bars that hold whatever the fault: lost 0, unexpected 0, each effect once, no hanging."""
    account = ended.account
    checks = [
        Check("lost", len(account.lost), 0),
        Check("unexpected", len(account.unexpected), 0),
        Check("effects twice", len(account.duplicated), 0),
        Check("wrong contents", len(account.wrong), 0),
        Check("slowest call", ended.load.slowest_seconds, ended.load.deadline_seconds + HANG_SECONDS, "s"),
    ]
    found = bugs(ended.entries)
    return [*checks, Check("errors outside the contract", len(found), 0)] if found else checks


def trial(
    scenario: str,
    middleware: str,
    rig: Rig,
    ended: Ended,
    checks: Sequence[Check],
    *,
    figures: Mapping[str, float] | None = None,
    notes: Sequence[str] = (),
) -> FaultTrial:
    """Return the record of a trial with load."""
    seconds = ended.load.lasted_seconds
    account, spec = ended.account, ended.injector.sites[0].spec
    named = {"lost": account.lost, "unexpected": account.unexpected, "twice": account.duplicated}
    return FaultTrial(
        scenario,
        middleware,
        str(spec.architecture),
        spec.nodes,
        rig.seed,
        round(seconds, 1),
        [*ledger_checks(ended), *checks],
        account.counts(),
        {"answered, %": round(ended.answered_percent, 2), **(figures or {})},
        ended.injector.judged(ended.entries, ended.found),
        timeline(ended.entries, ended.load.start_ns, round(max(0.25, seconds / SLICES), 2)),
        [
            *notes,
            *(f"{name}: {' '.join(tokens[:5])}" for name, tokens in named.items() if tokens),
            *_unanswered(ended.entries),
            *bugs(ended.entries),
        ],
    )


def _unanswered(entries: Sequence[Entry]) -> list[str]:
    """Return which errors clients got, and how often."""
    codes = Counter(entry.code for entry in entries if entry.code and not entry.code.startswith(BUG))
    return [f"errors: {', '.join(f'{code} {times}' for code, times in codes.most_common())}"] if codes else []


def delays_at_faults(ended: Ended) -> list[float]:
    """Return how long, after each fault, what it could touch then waited for its end; in seconds."""
    start_ns = ended.load.start_ns
    return [
        delay
        for fault in ended.injector.faults
        for delay in held_up(start_ns + int(fault.at_seconds * 1e9), ended.entries, ended.found)
    ]


def systems(sites: Sequence[Site]) -> dict[Application, Site]:
    """Return *sites* by their application."""
    return {site.spec.application: site for site in sites}
