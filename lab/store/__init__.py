"""The state that nodes share: in the memory of one node, or in Redis for n nodes."""

from lab.store.memory import MemoryStore
from lab.store.protocol import Changes, DeadLetter, Hold, Store, UnderWay, WaitingText

__all__ = ["Changes", "DeadLetter", "Hold", "MemoryStore", "Store", "UnderWay", "WaitingText", "open_store"]


def open_store(url: str, namespace: str) -> Store:
    """Open the store at *url*: a Redis, or this process's memory if it is empty."""
    if not url:
        return MemoryStore()
    from lab.store.redis_store import RedisStore  # a node without it should not pay for its import

    return RedisStore(url, namespace)
