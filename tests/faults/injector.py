"""What is done to a system, when, and for how long. Seeded: the same faults at the same times again."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from lab.launcher import Handle
from lab.topology import NODE
from tests.faults.ledger import Entry, Found
from tests.faults.load import Load
from tests.faults.site import Site
from tests.faults.timeline import held_up
from tests.harness.fault_trial import Fault

LOOK_SECONDS = 0.02
Act = Callable[[], None]


@dataclass(slots=True)
class Injector:
    """Does what it is told to *sites* while *load* runs, and writes down when."""

    load: Load
    sites: Sequence[Site]
    seed: int
    faults: list[Fault] = field(default_factory=list)
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def kill_node(self) -> None:
        """kill -9 a random live node of a random site; it is started again."""
        site = self.chance.choice([site for site in self.sites if site.live])
        node = self.chance.choice(site.live)
        at = self.load.seconds()
        site.launcher.kill(node)
        place = len(self.faults)
        self.faults.append(Fault("kill -9", _name(site, NODE, node), at))
        site.keep()
        self._over(place)

    def freeze(self, site: Site, node: Handle) -> int:
        """SIGSTOP a node; return the place of the fault, for :meth:`thaw`."""
        self.faults.append(Fault("SIGSTOP", _name(site, NODE, node), self.load.seconds()))
        os.kill(node.pid, signal.SIGSTOP)
        return len(self.faults) - 1

    def thaw(self, node: Handle, place: int) -> None:
        """SIGCONT it."""
        os.kill(node.pid, signal.SIGCONT)
        self._over(place)

    def kill_and_restart(self, site: Site, role: str, down_seconds: float) -> float:
        """kill -9 the only process of *role*, start it again on its port; return when it was ready."""
        handle = site.handles[role][0]
        self.faults.append(Fault("kill -9", _name(site, role, handle), self.load.seconds()))
        site.launcher.kill(handle)
        time.sleep(down_seconds)  # a fault that lasts, not a wait for something
        site.restart(role)
        return self._over(len(self.faults) - 1)

    def kill_broker(self, kind: str, down_seconds: float) -> float:
        """kill -9 a private broker and start it again on its port; return when it answered."""
        brokers = self.sites[0].brokers
        self.faults.append(Fault("kill -9", kind, self.load.seconds()))
        brokers.kill(kind)
        time.sleep(down_seconds)  # a fault that lasts, not a wait for something
        brokers.restart(kind)
        return self._over(len(self.faults) - 1)

    def follow(self, schedule: Iterable[tuple[float, Act]]) -> None:
        """Do each act when it is due, in seconds of the load; keep the nodes up until the load is over."""
        for at_seconds, act in sorted(schedule, key=lambda due: due[0]):
            self.wait(at_seconds)
            if not self.load.running:
                return
            act()
        self.wait(float("inf"))

    def wait(self, until_seconds: float) -> None:
        """Keep the nodes up until then, or until the load is over."""
        while self.load.running and self.load.seconds() < until_seconds:
            for site in self.sites:
                site.keep()
            time.sleep(LOOK_SECONDS)

    def judged(self, entries: Sequence[Entry], found: Sequence[Found] = ()) -> list[Fault]:
        """Return the faults with how long each held up what was under way."""
        judged = []
        for fault in self.faults:
            at_ns = self.load.start_ns + int(fault.at_seconds * 1e9)
            delays = held_up(at_ns, entries, found)
            judged.append(replace(fault, recovery_seconds=round(max(delays), 3) if delays else None))
        return judged

    def _over(self, place: int) -> float:
        until = self.load.seconds()
        self.faults[place] = replace(self.faults[place], until_seconds=round(until, 3))
        return until


def _name(site: Site, role: str, handle: Handle) -> str:
    place = [other.pid for other in site.handles[role]].index(handle.pid) + 1
    return f"{site.spec.application} {role} {place}"


def times(chance: random.Random, count: int, seconds: float) -> list[float]:
    """Return *count* times, one at random in the middle of each of as many equal parts of *seconds*."""
    part = seconds / count
    return [part * (place + chance.uniform(0.25, 0.75)) for place in range(count)]
