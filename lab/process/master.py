"""The master of a direct middleware, without its wire: the live nodes, and whose turn it is.

Its memory is rebuilt by heartbeats. Arrivals are stamped with its own monotonic clock; no other clock is
used, so a wall clock that jumps changes nothing.
"""

import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable

from lab.contract import Application
from lab.errors import Overloaded, Unavailable
from lab.process.registry import Member, Registry

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
