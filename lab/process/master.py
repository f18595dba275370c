"""The master of a direct middleware, without its wire: the live nodes, and whose turn it is.

Its memory is rebuilt by heartbeats. Arrivals are stamped with its own monotonic clock; no other clock is
used, so a wall clock that jumps changes nothing. `Registry` is pure: no I/O, and the clock is an argument.
"""

import itertools
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

from sortedcontainers import SortedSet

from lab.contract import Application
from lab.errors import Overloaded, Unavailable


@dataclass(slots=True)
class Member:
    """A live node: where it is, when it was last heard of, and how often it was assigned."""

    name: str
    address: str
    heard_at: float
    assigned: int = 0


class Registry:
    """The live nodes of one application. A node is dropped when silent for longer than *lease_seconds*.

    If the clock is set back, no lease gets longer: a time in the future counts as now.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._by_age: OrderedDict[str, Member] = OrderedDict()
        self._turns: OrderedDict[str, None] = OrderedDict()
        self._by_load: SortedSet[tuple[int, float, str]] = SortedSet()

    def join(self, name: str, address: str, now: float) -> None:
        """Add a node, or replace the one of the same name.

        It starts with the smallest number of assignments of all nodes. With 0, it would get every client
        until it had as many as the older nodes.
        """
        self.leave(name)
        self.expire(now)
        assigned = self._by_load[0][0] if self._by_load else 0
        self._put(Member(name, address, now, assigned))
        self._turns[name] = None

    def beat(self, name: str, now: float) -> bool:
        """Note a sign of life; False if the node is not known (any more) and must join again."""
        self.expire(now)
        member = self._take(name)
        if member is None:
            return False
        member.heard_at = now
        self._put(member)
        return True

    def leave(self, name: str) -> bool:
        """Drop a node at once; True if it was there."""
        self._turns.pop(name, None)
        return self._take(name) is not None

    def expire(self, now: float) -> list[str]:
        """Drop the nodes whose lease is over; return their names."""
        self._correct(now)
        dropped = []
        while self._by_age:
            oldest = next(iter(self._by_age.values()))
            if oldest.heard_at + self._lease_seconds >= now:
                break
            self.leave(oldest.name)
            dropped.append(oldest.name)
        return dropped

    def find(self, name: str, now: float) -> Member | None:
        """Return the live node called *name*."""
        self.expire(now)
        return self._by_age.get(name)

    def live(self, now: float) -> list[Member]:
        """Return the live nodes, the longest silent first."""
        self.expire(now)
        return list(self._by_age.values())

    def round_robin(self, now: float) -> Member | None:
        """Assign the live node whose turn it is."""
        self.expire(now)
        if not self._turns:
            return None
        name = next(iter(self._turns))
        self._turns.move_to_end(name)
        return self._assign(name)

    def least_assigned(self, now: float) -> Member | None:
        """Assign the live node with the fewest assignments; among equals, the longest silent."""
        self.expire(now)
        return self._assign(self._by_load[0][2]) if self._by_load else None

    def _correct(self, now: float) -> None:
        """Replace times in the future by *now*. They are the newest; the others are not looked at."""
        late = list(takewhile(lambda member: member.heard_at > now, reversed(self._by_age.values())))
        for member in late:
            self._by_load.discard(_load(member))
            member.heard_at = now
            self._by_load.add(_load(member))

    def _assign(self, name: str) -> Member:
        member = self._by_age[name]
        self._by_load.discard(_load(member))
        member.assigned += 1
        self._by_load.add(_load(member))
        return member

    def _put(self, member: Member) -> None:
        self._by_age[member.name] = member
        self._by_load.add(_load(member))

    def _take(self, name: str) -> Member | None:
        member = self._by_age.pop(name, None)
        if member:
            self._by_load.discard(_load(member))
        return member


def _load(member: Member) -> tuple[int, float, str]:
    return member.assigned, member.heard_at, member.name


log = logging.getLogger(__name__)

MAX_NODES = 1000
_IDENTIFIER_BITS = 40


class Master:
    """The live nodes of both applications; a node that is silent for longer than *lease_seconds* is dropped.

    *answers* tells whether a node answers a probe at its address. *check* raises an InvalidRequest for what
    is no address. *start_with* is the option with which a node is told of this master. Every method may be
    called from any thread.
    """

    def __init__(
        self,
        lease_seconds: float,
        answers: Callable[[str], bool],
        check: Callable[[str], object],
        start_with: str = "--master",
    ) -> None:
        self._registries = {application: Registry(lease_seconds) for application in Application}
        # Drawn, not remembered: a master that restarts knows nothing of the numbers that live nodes have, and
        # a clock may be set back. A thousand nodes meet its next thousand once in 500,000 restarts.
        self._identifiers = itertools.count(secrets.randbits(_IDENTIFIER_BITS))
        self._answers = answers
        self._check = check
        self._start_with = start_with
        self._lock = threading.Lock()

    def next_identifier(self) -> int:
        """Return a number that no other node has."""
        with self._lock:
            return next(self._identifiers)

    def join(self, application: Application, name: str, address: str) -> bool:
        """Add the node NAME of APPLICATION (service or filter), which serves at ADDRESS."""
        self._check(address)
        with self._lock:
            registry, now = self._registries[application], time.monotonic()
            if not registry.find(name, now) and len(registry.live(now)) >= MAX_NODES:
                raise Overloaded(f"the master knows {MAX_NODES} nodes and takes no more; stop some")
            registry.join(name, address, now)
        log.info("%s joined at %s", name, address)
        return True

    def heartbeat(self, application: Application, name: str) -> bool:
        """Note that the node NAME lives; false if it is not known and must join again."""
        with self._lock:
            return self._registries[application].beat(name, time.monotonic())

    def heartbeat_at(self, application: Application, name: str, address: str) -> bool:
        """Note that the node NAME lives at ADDRESS; false if it was not known there, and has joined."""
        with self._lock:
            member = self._registries[application].find(name, time.monotonic())
        if member and member.address == address and self.heartbeat(application, name):
            return True
        self.join(application, name, address)
        return False

    def leave(self, application: Application, name: str) -> bool:
        """Drop the node NAME, which stops; true if it was there."""
        with self._lock:
            was_there = self._registries[application].leave(name)
        if was_there:
            log.info("%s left", name)
        return was_there

    def get_node(self, application: Application) -> str:
        """Return the address of the live node of APPLICATION whose turn it is."""
        return self._assigned(application, Registry.round_robin)

    def least_assigned(self, application: Application) -> str:
        """Return the address of the live node with the fewest assignments, then the oldest pulse."""
        return self._assigned(application, Registry.least_assigned)

    def report_dead(self, application: Application, address: str) -> bool:
        """Test whether the node at ADDRESS answers, and drop it if not; true if it was dropped."""
        member = next((member for member in self.live(application) if member.address == address), None)
        if member is None or self._answers(address):
            return False
        log.info("%s at %s does not answer", member.name, address)
        return self.leave(application, member.name)

    def live(self, application: Application) -> list[Member]:
        """Return the live nodes of APPLICATION, the longest silent first."""
        with self._lock:
            return self._registries[application].live(time.monotonic())

    def get_nodes(self) -> dict[str, list[str]]:
        """Return the addresses of the live nodes of each application."""
        return {
            application.value: [member.address for member in self.live(application)]
            for application in Application
        }

    def _assigned(self, application: Application, choose: Callable[[Registry, float], Member | None]) -> str:
        with self._lock:
            member = choose(self._registries[application], time.monotonic())
        if member is None:
            raise Unavailable(f"no {application} node is live; start one with {self._start_with}")
        return member.address
