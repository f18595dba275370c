"""The client of a direct middleware: a connection to one node, replaced by another when that node dies."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from lab.client.calls import Calls
from lab.client.connection import Turns
from lab.client.retry import LEAST_SECONDS, Backoff, call_with_probe, retry_while_unavailable
from lab.contract import Application, Target
from lab.errors import DeadlineExceeded, LabError, Unavailable
from lab.operations import MUTATING_OPERATIONS, Operation, new_operation_id
from lab.validation import clean_deadline

TICK_ID = "tick-"
"""The operation id of a notification is this and the number of the tick."""


class Connection(Protocol):
    """A connection to one node."""

    def close(self) -> None: ...


class CallConnection(Connection, Protocol):
    """A connection to one server: one call at a time, opened when first needed, and again after an error."""

    def call(
        self, method: str, arguments: Sequence[object], timeout_seconds: float, operation_id: str = ""
    ) -> object:
        """Return the answer of *method*; raise the LabError it is, Unavailable or DeadlineExceeded."""


AnyNode = TypeVar("AnyNode", bound=Connection)
Answer = TypeVar("Answer")
BETWEEN_NODES = Backoff(0.02, 0.5, least_share=0.0)


class Locator(Protocol):
    """Finds the node that a client uses."""

    has_others: bool
    """Another node may take the place of one that died."""

    def find(self, application: Application, timeout_seconds: float) -> str:
        """Return the address of a node; raise Unavailable if none lives."""

    def report_dead(self, application: Application, address: str, timeout_seconds: float) -> None:
        """Tell that the node at *address* did not answer."""

    def close(self) -> None: ...


class TheNode:
    """The one node, whose *address* is known."""

    has_others = False

    def __init__(self, address: str) -> None:
        self._address = address

    def find(self, application: Application, timeout_seconds: float) -> str:
        return self._address

    def report_dead(self, application: Application, address: str, timeout_seconds: float) -> None:
        """Do nothing: there is no other node."""

    def close(self) -> None:
        """Nothing is open."""


class MasterLocator:
    """A master that answers ``get_node`` and ``report_dead``, over *connection*."""

    has_others = True

    def __init__(self, connection: CallConnection) -> None:
        self._connection = connection

    def find(self, application: Application, timeout_seconds: float) -> str:
        return str(self._connection.call("get_node", [application.value], timeout_seconds))

    def report_dead(self, application: Application, address: str, timeout_seconds: float) -> None:
        self._connection.call("report_dead", [application.value, address], timeout_seconds)

    def close(self) -> None:
        self._connection.close()


class DirectClient(Calls):
    """Performs operations at the node that *locator* finds; threads that share it take turns.

    *connect* opens a connection to an address. *answers* tells whether a node answers a probe.
    """

    def __init__(
        self,
        target: Target,
        application: Application,
        deadline_seconds: float,
        connect: Callable[[str], CallConnection],
        answers: Callable[[str], bool],
        locator: Locator,
    ) -> None:
        self.deadline_seconds = clean_deadline(deadline_seconds)
        self._target = target
        self._application = application
        self._locator = locator
        self._answers = answers
        self._had_node = False
        report = self._report_dead if locator.has_others else None
        self._failover = Failover(self._find, lambda address, left: connect(address), report)

    def perform(self, operation: Operation, *arguments: object, deadline_seconds: float = 0.0) -> object:
        """Return the answer to *operation*, repeated at another node under the same id if its node dies."""
        operation_id = new_operation_id() if operation in MUTATING_OPERATIONS else ""

        def call(node: CallConnection, left: float) -> object:
            return node.call(operation, arguments, left, operation_id)

        return self.ask(call, deadline_seconds)

    def ask(self, call: Callable[[CallConnection, float], Answer], deadline_seconds: float = 0.0) -> Answer:
        """Return what *call* returns, given a connection and the seconds left. It may be called again."""
        if not self._locator.has_others:
            return self._failover.call(call, deadline_seconds or self.deadline_seconds)

        def attempt(node: CallConnection, left: float) -> Answer:
            return call_with_probe(
                lambda seconds: call(node, seconds), lambda: self._answers(self._failover.address), left
            )

        return self._failover.call(attempt, deadline_seconds or self.deadline_seconds)

    def close(self) -> None:
        self._failover.close()
        self._locator.close()

    def _find(self, left: float) -> str:
        if not self._had_node:
            address = self._locator.find(self._application, left)
        else:
            address = retry_while_unavailable(lambda left: self._locator.find(self._application, left), left)
        self._had_node = self._locator.has_others
        return address

    def _report_dead(self, address: str, left: float) -> None:
        self._locator.report_dead(self._application, address, left)


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


class Failover(Generic[AnyNode]):
    """A connection to the node that *assign* names, replaced when it is found dead.

    *assign* raises Unavailable when no node is live: that ends the call at once. *report_dead* is told the
    address that did not answer; without it there is no other node, and Unavailable ends the call. All
    three are given the seconds that are left, and keep to them.
    """

    def __init__(
        self,
        assign: Callable[[float], str],
        connect: Callable[[str, float], AnyNode],
        report_dead: Callable[[str, float], None] | None,
        budget: RetryBudget | None = None,
    ) -> None:
        self._assign = assign
        self._connect = connect
        self._report_dead = report_dead
        self._budget = budget or RetryBudget()
        self._address = ""
        self._connection: AnyNode | None = None
        self._turns = Turns()

    @property
    def address(self) -> str:
        """The node in use; empty: none."""
        return self._address

    def call(self, attempt: Callable[[AnyNode, float], Answer], deadline_seconds: float) -> Answer:
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

    def _connected(self, left: float) -> AnyNode:
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


def answers(connection: CallConnection, method: str, timeout_seconds: float) -> bool:
    """Tell whether a server answers *method*, which costs nothing, over *connection*; then close that."""
    try:
        connection.call(method, (), timeout_seconds)
    except (Unavailable, DeadlineExceeded):
        return False
    except LabError:  # an answer, too
        return True
    finally:
        connection.close()
    return True
