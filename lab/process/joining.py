"""What both masters know about nodes that join: how many there may be, and numbers that nobody else has."""

import secrets

from lab.errors import Overloaded
from lab.process.registry import Registry

MAX_NODES = 1000
_IDENTIFIER_BITS = 40


def first_identifier() -> int:
    """Return the number from which a master counts.

    It is drawn, not remembered: a master that restarts knows nothing of the numbers that live nodes have, and
    a clock may be set back. A thousand nodes meet its next thousand once in 500,000 restarts.
    """
    return secrets.randbits(_IDENTIFIER_BITS)


def check_room(registry: Registry, now: float) -> None:
    """Raise Overloaded when there are as many nodes as a master keeps."""
    if len(registry.live(now)) >= MAX_NODES:
        raise Overloaded(f"the master knows {MAX_NODES} nodes and takes no more; stop some")
