"""How a client of a direct middleware goes on when its node dies: report it, get another, repeat the call."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from lab.client.connection import Turns
from lab.errors import DeadlineExceeded, NotFound, Unavailable


class Connection(Protocol):
    """A connection to one node."""

    def close(self) -> None: ...


ToNode = TypeVar("ToNode", bound=Connection)
Answer = TypeVar("Answer")

FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.5
LEAST_SECONDS = 0.1
"""What reporting a dead node is given even when less is left."""
FIRST_LOOK_SECONDS = 0.001
LONGEST_LOOK_SECONDS = 0.02


class RetryBudget:
    """How many retries a client may make: a few at once, so many a second, and a share of its calls.

    It bounds what clients add to the load of a system that is failing already.
    """

    def __init__(self, at_once: float = 20.0, per_second: float = 10.0, per_call: float = 0.2) -> None:
        self._at_once = self._left = at_once
        self._per_second = per_second
        self._per_call = per_call
        self._counted_at = time.monotonic()

    def earn(self) -> None:
        """Note a call."""
        self._left = min(self._at_once, self._left + self._per_call)

    def spend(self) -> bool:
        """Take one retry from what is left; False if nothing is."""
        now = time.monotonic()
        self._left = min(self._at_once, self._left + self._per_second * (now - self._counted_at))
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Failover(Generic[ToNode]):
    """A connection to the node that *assign* names, replaced when it is found dead.

    *assign* raises Unavailable when no node is live: that ends the call at once. *report_dead* is told the
    address that did not answer; without it there is no other node, and Unavailable ends the call. All
    three are given, and keep, the time limit of the call in seconds.
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

    def call(self, attempt: Callable[[ToNode, float], Answer], deadline_seconds: float) -> Answer:
        """Return what *attempt* returns; a node that is Unavailable is replaced until the deadline.

        *attempt* is given the connection and the seconds that are left. It may run more than once, so it must
        carry the same operation id each time, or change nothing. Pauses grow from 20 to 500 ms, with full
        jitter, so that clients do not come back together; retries keep within the budget. Threads take turns.
        """
        deadline = time.monotonic() + deadline_seconds
        self._turns.take(deadline_seconds)
        try:
            return self._call(attempt, deadline, deadline_seconds)
        finally:
            self._turns.release()

    def _call(
        self, attempt: Callable[[ToNode, float], Answer], deadline: float, deadline_seconds: float
    ) -> Answer:
        longest_pause = FIRST_PAUSE_SECONDS
        self._budget.earn()
        while True:
            try:
                connection = self._connected(deadline - time.monotonic())
                return attempt(connection, max(LEAST_SECONDS, deadline - time.monotonic()))
            except DeadlineExceeded:
                if self._report_dead:  # it may be frozen: the next call goes elsewhere
                    self._drop(self._report_dead, LEAST_SECONDS)
                raise
            except Unavailable as error:
                if not self._address or self._report_dead is None:  # nobody else to turn to: say so at once
                    self.close()
                    raise
                self._drop(self._report_dead, max(LEAST_SECONDS, deadline - time.monotonic()))
                if not self._budget.spend():
                    raise
                pause_seconds = random.uniform(0.0, longest_pause)
                if time.monotonic() + pause_seconds >= deadline:
                    raise DeadlineExceeded(
                        f"no node answered within {deadline_seconds:g} s: {error}"
                    ) from error
            time.sleep(pause_seconds)
            longest_pause = min(LONGEST_PAUSE_SECONDS, 2 * longest_pause)

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
            with suppress(Unavailable, DeadlineExceeded):  # the next assign says so
                report_dead(address, left)


def wait_for_result(ask: Callable[[float], str], petition_id: str, timeout_seconds: float) -> str:
    """Return what *ask* returns, asking again while it raises NotFound; then raise DeadlineExceeded.

    *ask* is given the seconds that are left. Pauses grow from 1 to 20 ms: an answer is noticed late by a
    quarter of the time it took at most.
    """
    deadline = time.monotonic() + timeout_seconds
    pause_seconds = FIRST_LOOK_SECONDS
    while True:
        left = deadline - time.monotonic()
        try:
            return ask(max(left, 0.1))
        except NotFound as error:
            if left <= pause_seconds:
                message = f"no result for {petition_id} within {timeout_seconds:g} s"
                raise DeadlineExceeded(message) from error
        time.sleep(pause_seconds)
        pause_seconds = min(LONGEST_LOOK_SECONDS, 1.25 * pause_seconds)
