"""Deadlines, pauses that grow, probes, and going on at another node when one dies.

A frozen process keeps its connections, and the kernel accepts new ones for it: nothing is refused, and no
answer comes. Only another request, one that costs nothing to answer, tells whether the process lives.
"""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from lab.client.connection import Turns
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


class Connection(Protocol):
    """A connection to one node."""

    def close(self) -> None: ...


ToNode = TypeVar("ToNode", bound=Connection)
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


BETWEEN_NODES = Backoff(0.02, 0.5, least_share=0.0)
UNTIL_THE_MASTER_ANSWERS = Backoff(0.02, 0.2)
UNTIL_THE_RESULT_IS_THERE = Backoff(0.001, 0.02, least_share=1.0, growth=1.25)
"""A result is noticed at most a quarter of its time late."""


class RetryBudget:
    """How many retries a client may make: a few at once, so many a second, and a share of its calls.

    It bounds what clients add to the load of a system that is failing already.
    """

    def __init__(self, at_once: float = 20.0, per_second: float = 10.0, per_call: float = 0.2) -> None:
        self._at_once = self._left = at_once
        self._per_second = per_second
        self._per_call = per_call
        self._counted_at = time.monotonic()
        self.calls = 0
        """To be counted up at each call."""

    def spend(self) -> bool:
        """Take one retry from what is left; False if nothing is."""
        now = time.monotonic()
        earned = self._per_second * (now - self._counted_at) + self._per_call * self.calls
        self._left = min(self._at_once, self._left + earned)
        self._counted_at, self.calls = now, 0
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Failover(Generic[ToNode]):
    """A connection to the node that *assign* names, replaced when it is found dead.

    *assign* raises Unavailable when no node is live: that ends the call at once. *report_dead* is told the
    address that did not answer; without it there is no other node, and Unavailable ends the call. All
    three are given the seconds that are left, and keep to them.
    """

    def __init__(
        self,
        assign: Callable[[float], str],
        connect: Callable[[str, float], ToNode],
        report_dead: Callable[[str, float], None] | None,
        budget: RetryBudget | None = None,
    ) -> None:
        self._assign = assign
        self._connect = connect
        self._report_dead = report_dead
        self._budget = budget or RetryBudget()
        self._address = ""
        self._connection: ToNode | None = None
        self._turns = Turns()

    @property
    def address(self) -> str:
        """The node in use; empty: none."""
        return self._address

    def call(self, attempt: Callable[[ToNode, float], Answer], deadline_seconds: float) -> Answer:
        """Return what *attempt* returns; a node that is Unavailable is replaced until the deadline.

        *attempt* is given the connection and the seconds that are left. It may run more than once, so it must
        carry the same operation id each time, or change nothing. Retries keep within the budget. Threads take
        turns.
        """
        deadline = time.monotonic() + deadline_seconds
        lock = self._turns.lock
        if not lock.acquire(blocking=False):
            self._turns.take(deadline_seconds)
        try:
            attempts = 0
            self._budget.calls += 1
            while True:
                try:
                    connection = self._connection or self._connected(deadline - time.monotonic())
                    return attempt(connection, max(LEAST_SECONDS, deadline - time.monotonic()))
                except DeadlineExceeded:
                    if self._report_dead:  # it may be frozen: the next call goes elsewhere
                        self._drop(self._report_dead, LEAST_SECONDS)
                    raise
                except Unavailable as error:
                    attempts += 1
                    self._give_up_on_node(error, attempts, deadline, deadline_seconds)
        finally:
            lock.release()

    def _give_up_on_node(
        self, error: Unavailable, attempts: int, deadline: float, deadline_seconds: float
    ) -> None:
        """Drop the node and wait before the next; raise what ends the call if there must be no next."""
        if not self._address or self._report_dead is None:  # there is no other node: raise at once
            self.close()
            raise error
        self._drop(self._report_dead, max(LEAST_SECONDS, deadline - time.monotonic()))
        if not self._budget.spend():
            raise error
        pause_seconds = BETWEEN_NODES.pause(attempts)
        if time.monotonic() + pause_seconds >= deadline:
            raise DeadlineExceeded(f"no node answered within {deadline_seconds:g} s: {error}") from error
        time.sleep(pause_seconds)

    def close(self) -> None:
        """Close the connection; a later call opens a new one."""
        connection, self._connection, self._address = self._connection, None, ""
        if connection:
            connection.close()

    def _connected(self, left: float) -> ToNode:
        if self._connection is None:
            if left <= 0:  # this process was frozen meanwhile
                raise DeadlineExceeded("the deadline passed before a node was found")
            self._address = ""
            self._address = self._assign(left)
            self._connection = self._connect(self._address, left)
        return self._connection

    def _drop(self, report_dead: Callable[[str, float], None], left: float) -> None:
        address = self._address
        self.close()
        if address:
            with suppress(Unavailable, DeadlineExceeded):  # the next assign raises it
                report_dead(address, left)


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
