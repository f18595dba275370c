"""The work list of a store in memory: texts that wait, texts that are taken, and their owners."""

import heapq
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass
from itertools import islice

from lab.store.protocol import FAILURES_AT_MOST, DeadLetter, WaitingText, dead_letter

DEAD_LETTERS = 1_000
"""How many are kept; the oldest are dropped first."""


@dataclass(slots=True)
class Entry:
    """A text on the work list, and its last owner."""

    text: str
    epoch: int = 0
    owner: str = ""
    lease_end: float = 0.0
    failures: int = 0


class WorkList:
    """Pure: the clock and the epochs are arguments. Every call costs O(log n), amortised."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._leases: list[tuple[float, str]] = []
        self._owned: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._dead: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS)

    def __len__(self) -> int:
        """Return how many texts wait."""
        return len(self._waiting)

    def text(self, petition_id: str) -> str | None:
        """Return the text of a petition that waits or is taken."""
        entry = self._entries.get(petition_id)
        return entry.text if entry else None

    def put(self, petition_id: str, text: str) -> None:
        """Let *text* wait. Its petition is not on the list."""
        self._entries[petition_id] = Entry(text)
        self._waiting[petition_id] = None

    def take(self, petition_id: str, epoch: int, owner: str, lease_end: float) -> WaitingText | None:
        """Lease the text of *petition_id*, or of the oldest that waits if it is empty; None if none waits."""
        petition_id = petition_id or next(iter(self._waiting), "")
        if petition_id not in self._waiting:
            return None
        del self._waiting[petition_id]
        entry = self._entries[petition_id]
        entry.epoch, entry.owner = epoch, owner
        self._owned[owner][petition_id] = None
        self._lease(petition_id, entry, lease_end)
        return WaitingText(petition_id, entry.text, epoch)

    def is_taken(self, petition_id: str) -> bool:
        """Tell whether a node works on it now."""
        return petition_id in self._entries and petition_id not in self._waiting

    def renew(self, petition_id: str, epoch: int, lease_end: float) -> bool:
        """Prolong the lease under *epoch*; False if there is none."""
        if not self.is_taken(petition_id) or self._entries[petition_id].epoch != epoch:
            return False
        self._lease(petition_id, self._entries[petition_id], lease_end)
        return True

    def holds(self, petition_id: str, epoch: int) -> bool:
        """Tell whether no node took the text after *epoch*, and none finished it."""
        return petition_id in self._entries and self._entries[petition_id].epoch == epoch

    def remove(self, petition_id: str) -> None:
        """Forget a text: it is finished."""
        entry = self._entries.pop(petition_id, None)
        if entry:
            self._waiting.pop(petition_id, None)
            self._disown(petition_id, entry)

    def release(self, owner: str) -> int:
        """Let what *owner* took wait again; return how many texts that is."""
        owned = list(self._owned.get(owner, ()))
        for petition_id in reversed(owned):
            self._give_back(petition_id)
        return len(owned)

    def expire(self, now: float) -> None:
        """Let the texts wait again whose lease is over, before the younger ones."""
        expired: dict[str, None] = {}
        while self._leases and self._leases[0][0] <= now:
            lease_end, petition_id = heapq.heappop(self._leases)
            if self.is_taken(petition_id) and self._entries[petition_id].lease_end == lease_end:
                expired[petition_id] = None
        for petition_id in reversed(expired):  # each goes to the front, the oldest last
            self._give_back(petition_id)

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters."""
        return list(islice(self._dead, limit))

    def _lease(self, petition_id: str, entry: Entry, lease_end: float) -> None:
        entry.lease_end = lease_end
        heapq.heappush(self._leases, (lease_end, petition_id))

    def _give_back(self, petition_id: str) -> None:
        entry = self._entries[petition_id]
        self._disown(petition_id, entry)
        entry.failures += 1
        if entry.failures >= FAILURES_AT_MOST:
            del self._entries[petition_id]
            self._dead.appendleft(dead_letter(petition_id, entry.text, entry.failures))
            return
        self._waiting[petition_id] = None
        self._waiting.move_to_end(petition_id, last=False)

    def _disown(self, petition_id: str, entry: Entry) -> None:
        owned = self._owned.get(entry.owner)
        if owned is not None:
            owned.pop(petition_id, None)
            if not owned:
                del self._owned[entry.owner]
