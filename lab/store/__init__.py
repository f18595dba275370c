"""The state that nodes share: in the memory of one node, or in Redis for n nodes."""

from lab.store.memory import MemoryStore
from lab.store.protocol import Changes, Store, WaitingText

__all__ = ["Changes", "MemoryStore", "Store", "WaitingText"]
