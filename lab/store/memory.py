"""A store in the memory of one node. Its state is lost with the node."""

import itertools
import math
import random
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from sortedcontainers import SortedList

from lab.contract import Result, ResultPage
from lab.limits import MAX_RESULTS, RESULT_TTL_SECONDS
from lab.settings import settings
from lab.store.protocol import (
    Changes,
    DeadLetter,
    Hold,
    IdReused,
    Store,
    UnderWay,
    WaitingText,
    digest,
    result_page,
)
from lab.store.work_list import WorkList

Value = TypeVar("Value")

KEPT_CHANGES = 10_000
KEPT_OPERATION_IDS = 1_000_000
"""A bound on memory; at 15 minutes to live it is reached above 1,100 mutating requests per second."""


class Recent(Generic[Value]):
    """Keep values by key, in the order of their arrival, for *ttl_seconds* and at most *most* of them.

    The clock is an argument of each call; every call costs O(1), amortised.
    """

    def __init__(self, ttl_seconds: float, most: int) -> None:
        self._ttl_seconds = ttl_seconds
        self._most = most
        self._entries: OrderedDict[str, tuple[float, Value]] = OrderedDict()

    def get(self, key: str, now: float, within: float = math.inf) -> Value | None:
        """Return the value of *key*, or None if it is not there, too old, or older than *within* seconds."""
        entry = self._entries.get(key)
        return entry[1] if entry and entry[0] + min(self._ttl_seconds, within) > now else None

    def remove(self, key: str) -> None:
        """Forget the value of *key*, if there is one."""
        self._entries.pop(key, None)

    def put(self, key: str, value: Value, now: float) -> None:
        """Keep *value*; a key already there keeps its place in the order, unless it is too old to be read."""
        if key in self._entries and self._entries[key][0] + self._ttl_seconds <= now:
            del self._entries[key]
        self._entries[key] = (now, value)
        while self._entries:
            oldest = next(iter(self._entries))
            if len(self._entries) <= self._most and self._entries[oldest][0] + self._ttl_seconds > now:
                return
            del self._entries[oldest]

    def newest_first(self, now: float) -> Iterator[tuple[str, Value]]:
        """Yield keys and values from the newest to the oldest."""
        for key, (kept_at, value) in reversed(self._entries.items()):
            if kept_at + self._ttl_seconds <= now:
                return
            yield key, value


class MemoryStore(Store):
    """The store of one node; safe to call from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._insults: SortedList[str] = SortedList()
        self._drawn_from: list[str] = []
        """The same insults in no order: to draw one takes as long from a million as from ten."""
        self._places: dict[str, int] = {}
        """Of the insults in that list."""
        self._changes: deque[tuple[bool, str]] = deque(maxlen=KEPT_CHANGES)
        self._version = 0
        self._id_ttl = settings().id_ttl
        self._answers: Recent[tuple[bool, int]] = Recent(self._id_ttl, KEPT_OPERATION_IDS)
        """The answer to each operation, and the hash of its body."""
        self._subscribers: dict[str, float] = {}
        self._broadcast_on = False
        self._ticks = 0
        self._ticked_at: float | None = None
        self._broadcaster, self._broadcast_until = "", 0.0
        self._broadcast_epoch = 0
        self._epochs = itertools.count(1)
        self._work = WorkList()
        self._resolves: Recent[Result | str | None] = Recent(self._id_ttl, KEPT_OPERATION_IDS)
        """What a resolve gave, or the petition it is bound to; "" where none waited."""
        self._fenced = 0
        self._results: Recent[str] = Recent(RESULT_TTL_SECONDS, MAX_RESULTS)
        self._bodies: Recent[str] = Recent(self._id_ttl, MAX_RESULTS)
        """The digest of the text that each is the result of, where that is known."""

    def add_insult(self, insult: str, operation_id: str = "") -> bool:
        return self._once("add", operation_id, insult, lambda: self._change(True, insult))

    def add_insults(self, insults: Iterable[str]) -> int:
        with self._lock:
            return sum(self._change(True, insult) for insult in insults)

    def remove_insult(self, insult: str, operation_id: str = "") -> bool:
        return self._once("remove", operation_id, insult, lambda: self._change(False, insult))

    def get_insults(self, after: str, limit: int) -> list[str]:
        with self._lock:
            return list(islice(self._insults.irange(after, None, inclusive=(False, True)), limit))

    def random_insult(self) -> str | None:
        with self._lock:
            insults = self._drawn_from
            return insults[int(random.random() * len(insults))] if insults else None

    def count_insults(self) -> int:
        return len(self._insults)

    def version(self) -> str:
        return str(self._version)

    def changes(self, since: str) -> Changes:
        with self._lock:
            behind = self._version - int(since)
            complete = behind <= len(self._changes)
            start = len(self._changes) - behind
            return Changes(str(self._version), list(islice(self._changes, max(0, start), None)), complete)

    def add_subscriber(self, uri: str, lease_seconds: float) -> bool:
        with self._lock:
            new = uri not in self.subscribers()
            self._subscribers[uri] = self._clock() + lease_seconds
            return new

    def remove_subscriber(self, uri: str) -> bool:
        with self._lock:
            return self._subscribers.pop(uri, None) is not None

    def subscribers(self) -> list[str]:
        with self._lock:
            now = self._clock()
            self._subscribers = {uri: until for uri, until in self._subscribers.items() if until > now}
            return list(self._subscribers)

    def set_broadcast(self, on: bool, operation_id: str = "") -> bool:
        return self._once(f"broadcast {on}", operation_id, "", lambda: self._switch(on))

    def broadcast_on(self) -> bool:
        return self._broadcast_on

    def hold_broadcast(self, owner: str, lease_seconds: float) -> Hold | None:
        with self._lock:
            now = self._clock()
            is_held = self._broadcast_until > now
            if is_held and self._broadcaster != owner:
                return None
            if not is_held:
                self._broadcaster, self._broadcast_epoch = owner, next(self._epochs)
            self._broadcast_until = now + lease_seconds
            return Hold(self._broadcast_epoch, None if self._ticked_at is None else now - self._ticked_at)

    def leave_broadcast(self, owner: str) -> None:
        with self._lock:
            if self._broadcaster == owner:
                self._broadcast_until = 0.0

    def next_tick(self, epoch: int = 0) -> int:
        with self._lock:
            now = self._clock()
            if epoch and (epoch != self._broadcast_epoch or self._broadcast_until <= now):
                return 0
            self._ticked_at = now
            self._ticks += 1
            return self._ticks

    def submit(self, petition_id: str, text: str) -> None:
        self._once("submit", petition_id, text, lambda: self._enqueue(petition_id, text))

    def take(self, lease_seconds: float, owner: str = "") -> WaitingText | None:
        with self._lock:
            return self._take("", lease_seconds, owner)

    def take_for(
        self, operation_id: str, lease_seconds: float, owner: str = ""
    ) -> WaitingText | Result | UnderWay | None:
        with self._lock:
            now = self._clock()
            known = self._resolves.get(operation_id, now)
            if known == "":
                return None
            if isinstance(known, str):
                text = self._results.get(known, now)
                known = known if text is None else Result(known, text)
            if isinstance(known, Result):
                self._resolves.put(operation_id, known, now)
                return known
            self._work.expire(now)
            if known and self._work.is_taken(known):
                return UnderWay(known)
            taken = (known and self._take(known, lease_seconds, owner)) or self._take(
                "", lease_seconds, owner
            )
            self._resolves.put(operation_id, taken.petition_id if taken else "", now)
            return taken

    def renew(self, petition_id: str, epoch: int, lease_seconds: float) -> bool:
        with self._lock:
            return self._work.renew(petition_id, epoch, self._clock() + lease_seconds)

    def release(self, owner: str) -> int:
        with self._lock:
            return self._work.release(owner)

    def complete(
        self, petition_id: str, text: str, operation_id: str = "", epoch: int = 0, body: str = ""
    ) -> bool:
        with self._lock:
            now = self._clock()
            if epoch and not self._work.holds(petition_id, epoch):
                self._fenced += 1
                return False
            self._work.remove(petition_id)
            before = self._results.get(petition_id, now, self._id_ttl)
            of_body = digest(body) if body else ""
            if before not in (None, text) and not (body and self._bodies.get(petition_id, now) == of_body):
                raise IdReused()
            if before is None:  # what is there belongs to an earlier use of the id
                self._results.remove(petition_id)
                self._results.put(petition_id, text, now)
                self._bodies.put(petition_id, of_body, now)
            if operation_id:
                self._resolves.put(operation_id, Result(petition_id, text), now)
            return before is None

    def fenced(self) -> int:
        return self._fenced

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        with self._lock:
            return self._work.dead_letters(limit)

    def result(self, petition_id: str) -> str | None:
        with self._lock:
            return self._results.get(petition_id, self._clock())

    def get_results(self, limit: int) -> ResultPage:
        with self._lock:
            newest = self._results.newest_first(self._clock())
            return result_page((Result(*entry) for entry in newest), limit)

    def resolved(self, operation_id: str) -> Result | None:
        with self._lock:
            answer = self._resolves.get(operation_id, self._clock())
            return answer if isinstance(answer, Result) else None

    def waiting(self) -> int:
        return len(self._work)

    def ping(self) -> None:
        """Memory always answers."""

    def close(self) -> None:
        """Do nothing: there are no connections."""

    def _once(self, kind: str, operation_id: str, body: str, effect: Callable[[], bool]) -> bool:
        with self._lock:
            if not operation_id:
                return effect()
            key, digest = f"{kind}:{operation_id}", hash(body)
            recorded = self._answers.get(key, self._clock())
            if recorded is None:
                recorded = effect(), digest
                self._answers.put(key, recorded, self._clock())
            if recorded[1] != digest:
                raise IdReused()
            return recorded[0]

    def _change(self, added: bool, insult: str) -> bool:
        if (insult in self._places) is added:
            return False
        if added:
            self._places[insult] = len(self._drawn_from)
            self._drawn_from.append(insult)
            self._insults.add(insult)
        else:
            self._insults.remove(insult)
            last, place = self._drawn_from.pop(), self._places.pop(insult)
            if last != insult:
                self._drawn_from[place], self._places[last] = last, place
        self._changes.append((added, insult))
        self._version += 1
        return True

    def _switch(self, on: bool) -> bool:
        changed = self._broadcast_on is not on
        self._broadcast_on = on
        return changed

    def _enqueue(self, petition_id: str, text: str) -> bool:
        before = self._work.text(petition_id)
        if before is None:
            self._work.put(petition_id, text)
            self._results.remove(petition_id)
        elif before != text:  # the id expired, but its text is not finished yet
            raise IdReused()
        return before is None

    def _take(self, petition_id: str, lease_seconds: float, owner: str) -> WaitingText | None:
        now = self._clock()
        self._work.expire(now)
        return self._work.take(petition_id, next(self._epochs), owner, now + lease_seconds)
