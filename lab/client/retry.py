"""Deadlines, pauses that grow, and probes: how long to wait, and what for.

A frozen process keeps its connections, and the kernel accepts new ones for it: nothing is refused, and no
answer comes. Only another request, one that costs nothing to answer, tells whether the process lives.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from lab.errors import DeadlineExceeded, NotFound, Unavailable

PROBE_AFTER_SECONDS = 3.0
"""A node or connection that is silent for longer is probed; a third of the deadline, if that is less."""
PROBE_SECONDS = 0.5
"""Time limit of the request that tells whether it lives."""
LEAST_DEADLINE_SECONDS = 3 * PROBE_SECONDS
"""With less than that, there is no time to turn to another node."""
LEAST_SECONDS = 0.1
"""What the last step before a deadline is given even when less is left."""
MOST_OF_IT = 0.8
"""The part of the time to drain that a node plans with: its process must have ended when that is over."""


Answer = TypeVar("Answer")


class Deadline:
    """*seconds* from now."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left; at least a tenth, so that a step can still be asked for."""
        return max(LEAST_SECONDS, self._at - time.monotonic())


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that grow from *first_seconds* to *longest_seconds*.

    Jitter: each is drawn from *least_share* of its length up to the whole, so that those who wait for the
    same thing do not come back together.
    """

    first_seconds: float
    longest_seconds: float
    least_share: float = 0.5
    growth: float = 2.0

    def pause(self, attempt: int) -> float:
        """Return the seconds to wait after the *attempt*-th failure in a row, counted from 1."""
        grown = self.first_seconds * self.growth ** min(max(attempt, 1) - 1, 64)
        longest = min(self.longest_seconds, grown)
        return random.uniform(self.least_share * longest, longest)


UNTIL_THE_MASTER_ANSWERS = Backoff(0.02, 0.2)
UNTIL_THE_RESULT_IS_THERE = Backoff(0.001, 0.02, least_share=1.0, growth=1.25)
"""A result is noticed at most a quarter of its time late."""


def probe_after(left: float) -> float:
    """Return how many of the seconds that are *left* to wait before a probe."""
    return min(PROBE_AFTER_SECONDS, left / 3)


def call_with_probe(call: Callable[[float], Answer], answers: Callable[[], bool], left: float) -> Answer:
    """Return what *call* returns, given its time limit in seconds; at most *left* in all.

    If it is not there after a while and the node *answers* no probe either, raise Unavailable: the caller
    goes to another. A node that does answer is only slow: it is asked again, for the time that is left.
    """
    if left < LEAST_DEADLINE_SECONDS:
        return call(left)
    deadline = time.monotonic() + left
    try:
        return call(probe_after(left))
    except DeadlineExceeded as error:
        if not answers():
            raise Unavailable(f"{error.message}; a probe had no answer either: it is frozen") from error
        if time.monotonic() >= deadline:
            raise
    return call(max(LEAST_SECONDS, deadline - time.monotonic()))


def retry_while_unavailable(ask: Callable[[float], Answer], left: float) -> Answer:
    """Return what *ask* returns, asked again while it raises Unavailable, for *left* seconds at most.

    For a client that had a node before: the master restarts, or its nodes have not come back to it yet.
    """
    deadline = time.monotonic() + left
    attempts = 0
    while True:
        try:
            return ask(max(LEAST_SECONDS, deadline - time.monotonic()))
        except Unavailable:
            attempts += 1
            pause_seconds = UNTIL_THE_MASTER_ANSWERS.pause(attempts)
            if time.monotonic() + pause_seconds >= deadline:
                raise
        time.sleep(pause_seconds)


def wait_for_result(ask: Callable[[float], str], petition_id: str, timeout_seconds: float) -> str:
    """Return what *ask* returns, asking again while it raises NotFound; then raise DeadlineExceeded.

    *ask* is given the seconds that are left.
    """
    deadline = time.monotonic() + timeout_seconds
    looks = 0
    while True:
        left = deadline - time.monotonic()
        try:
            return ask(max(left, LEAST_SECONDS))
        except NotFound as error:
            looks += 1
            pause_seconds = UNTIL_THE_RESULT_IS_THERE.pause(looks)
            if left <= pause_seconds:
                message = f"no result for {petition_id} within {timeout_seconds:g} s"
                raise DeadlineExceeded(message) from error
        time.sleep(pause_seconds)
