"""What is done to a system, when, and for how long. Seeded: the same faults at the same times again."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from harness.faults.ledger import Entry, Found, held_up
from harness.faults.load import Load, until
from harness.faults.site import Site
from harness.record.run import Fault
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
