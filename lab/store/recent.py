"""A dictionary that forgets: entries older than a time to live, and the oldest beyond a number."""

import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

Value = TypeVar("Value")


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
