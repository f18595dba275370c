"""How long a client of a direct middleware waits for a node that may be frozen, or for a master that is away.

A frozen process keeps its connections, and the kernel accepts new ones for it: nothing is refused, and no
answer comes. Whether it lives is told only by another request, one that costs nothing to answer.
"""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from lab.errors import DeadlineExceeded, Unavailable

PATIENCE_SECONDS = 3.0
"""Before a node, or a connection, is suspected, or a third of the deadline if that is less."""
PROBE_SECONDS = 0.5
"""Time limit of the request that tells whether it lives."""
LEAST_DEADLINE_SECONDS = 3 * PROBE_SECONDS
"""With less than that, there is no time to turn to another node."""
LONGEST_PAUSE_SECONDS = 0.2

Answer = TypeVar("Answer")


def suspect_after(left: float) -> float:
    """Return how many of the seconds that are *left* to wait before anything is suspected."""
    return min(PATIENCE_SECONDS, left / 3)


def patiently(call: Callable[[float], Answer], answers: Callable[[], bool], left: float) -> Answer:
    """Return what *call* returns, given its time limit in seconds; at most *left* in all.

    If it is not there after a while and the node *answers* nothing else, raise Unavailable: the caller goes
    to another. A node that does answer is only slow: it is asked again, for the time that is left.
    """
    if left < LEAST_DEADLINE_SECONDS:
        return call(left)
    deadline = time.monotonic() + left
    try:
        return call(suspect_after(left))
    except DeadlineExceeded as error:
        if not answers():
            raise Unavailable(f"{error.message}, and neither to a simple question: it is frozen") from error
        if time.monotonic() >= deadline:
            raise
    return call(max(0.1, deadline - time.monotonic()))


def outlasting(ask: Callable[[float], Answer], left: float) -> Answer:
    """Return what *ask* returns, asked again while it raises Unavailable, for *left* seconds at most.

    For a client that had a node before: the master is restarting, or its nodes have not come back to it yet.
    """
    deadline = time.monotonic() + left
    pause_seconds = 0.02
    while True:
        try:
            return ask(max(0.1, deadline - time.monotonic()))
        except Unavailable:
            if time.monotonic() + pause_seconds >= deadline:
                raise
        time.sleep(pause_seconds * random.uniform(0.5, 1.0))
        pause_seconds = min(LONGEST_PAUSE_SECONDS, 2 * pause_seconds)
