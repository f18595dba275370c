"""Which nodes live, and whose turn it is. Pure: no I/O, and the clock is an argument of every call.

Both masters use it. Every call costs O(log n) at worst, amortised.
"""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import takewhile

from sortedcontainers import SortedSet


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
