"""The client of a direct middleware: a connection to one node, replaced by another when that node dies."""

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from lab.client.calls import Calls
from lab.client.retry import Connection, Failover, call_with_probe, retry_while_unavailable
from lab.contract import Application, Architecture, Target
from lab.errors import DeadlineExceeded, LabError, Unavailable
from lab.operations import MUTATING_OPERATIONS, Operation, new_operation_id
from lab.validation import clean_deadline

TICK_ID = "tick-"
"""The operation id of a notification is this and the number of the tick."""


class CallConnection(Connection, Protocol):
    """A connection to one server: one call at a time, opened when first needed, and again after an error."""

    def call(
        self, method: str, arguments: Sequence[object], timeout_seconds: float, operation_id: str = ""
    ) -> object:
        """Return the answer of *method*; raise the LabError it is, Unavailable or DeadlineExceeded."""


ToNode = TypeVar("ToNode", bound=CallConnection)
Answer = TypeVar("Answer")


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


class DirectClient(Calls, Generic[ToNode]):
    """Performs operations at the node that *locator* finds; threads that share it take turns.

    *connect* opens a connection to an address. *answers* tells whether a node answers a probe. Without
    *locator*, *target* is the node's own address, or that of the master of n nodes.
    """

    def __init__(
        self,
        target: Target,
        application: Application,
        deadline_seconds: float,
        connect: Callable[[str], ToNode],
        answers: Callable[[str], bool],
        locator: Locator | None = None,
    ) -> None:
        self.deadline_seconds = clean_deadline(deadline_seconds)
        self._target = target
        self._application = application
        if locator is None:
            is_one_of_n = target.architecture is Architecture.N_NODE
            locator = MasterLocator(connect(target.address)) if is_one_of_n else TheNode(target.address)
        self._locator = locator
        self._answers = answers
        self._had_node = False
        report = self._report_dead if locator.has_others else None
        self._failover = Failover(self._find, lambda address, left: connect(address), report)

    def perform(self, operation: Operation, *arguments: object, deadline_seconds: float = 0.0) -> object:
        """Return the answer to *operation*, repeated at another node under the same id if its node dies."""
        operation_id = new_operation_id() if operation in MUTATING_OPERATIONS else ""

        def call(node: ToNode, left: float) -> object:
            return node.call(operation, arguments, left, operation_id)

        if self._locator.has_others:
            return self.ask(call, deadline_seconds)
        return self._failover.call(call, deadline_seconds or self.deadline_seconds)

    def ask(self, call: Callable[[ToNode, float], Answer], deadline_seconds: float = 0.0) -> Answer:
        """Return what *call* returns, given a connection and the seconds left. It may be called again."""

        if not self._locator.has_others:
            return self._failover.call(call, deadline_seconds or self.deadline_seconds)

        def attempt(node: ToNode, left: float) -> Answer:
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
