"""What the clients of both applications share: a node's connection, replaced when the node dies.

Replaces nothing of Pyro4.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from types import TracebackType
from typing import Self, TypeVar

from lab.client.retry import Deadline, Failover, call_with_probe, retry_while_unavailable
from lab.contract import Application, Architecture, Target
from lab.operations import MUTATING_OPERATIONS, Operation, new_operation_id
from lab.validation import clean_deadline

from .connection import PyroConnection, answers
from .name_server import MASTER, NAMES_SECONDS, Names

_RESOLVERS = {
    Application.SERVICE: "get_resolver_slave",
    Application.FILTER: "get_resolver_filter",
}
_NAMES = {Application.SERVICE: "insult.service", Application.FILTER: "filter.service"}


Answer = TypeVar("Answer")


class NodeClient:
    """Calls operations on the one node, or on the one that the master names; found by the name server."""

    def __init__(self, target: Target, application: Application, deadline_seconds: float) -> None:
        self.deadline_seconds = clean_deadline(deadline_seconds)
        self._target = target
        self._application = application
        self._names = Names(target.address)
        self._has_master = target.architecture is Architecture.N_NODE
        self._had_node = False
        self._failover = Failover(
            self._assign,
            lambda uri, left: PyroConnection(uri),
            self._report_dead if self._has_master else None,
        )

    def perform(self, operation: Operation, *arguments: object, deadline_seconds: float = 0.0) -> object:
        """Return the answer to *operation*, repeated at another node under the same id if its node dies."""
        operation_id = new_operation_id() if operation in MUTATING_OPERATIONS else ""
        return self._failover.call(
            self._patient(lambda node, left: node.call(operation, arguments, left, operation_id)),
            deadline_seconds or self.deadline_seconds,
        )

    def batch(self, operation: Operation, texts: list[str]) -> list[str]:
        """Return the answers to *operation* for each of *texts*; raise the first error among them."""
        return self._failover.call(
            self._patient(lambda node, left: node.batch(operation, texts, left)), self.deadline_seconds
        )

    def close(self) -> None:
        self._failover.close()
        self._names.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _patient(
        self, call: Callable[[PyroConnection, float], Answer]
    ) -> Callable[[PyroConnection, float], Answer]:
        """Return *call*, which turns to another node, where there is one, if its node is frozen."""

        def attempt(node: PyroConnection, left: float) -> Answer:
            if not self._has_master:
                return call(node, left)
            return call_with_probe(lambda seconds: call(node, seconds), lambda: answers(node.uri), left)

        return attempt

    def _assign(self, left: float) -> str:
        if not self._has_master:
            return self._names.lookup(_NAMES[self._application], left)
        node = retry_while_unavailable(self._ask_master, left) if self._had_node else self._ask_master(left)
        self._had_node = True
        return node

    def _ask_master(self, left: float) -> str:
        return str(_call_master(self._names, _RESOLVERS[self._application], (), left))

    def _report_dead(self, uri: str, left: float) -> None:
        _call_master(self._names, "report_dead", (uri,), left)


def report_dead(name_server: str, application: Application, uri: str) -> None:
    """Tell the master, found by the *name_server*, that the node at *uri* is gone; it looks for itself."""
    with closing(Names(name_server)) as names:
        _call_master(names, "report_dead", (uri,), NAMES_SECONDS)


def _call_master(names: Names, method: str, arguments: Sequence[object], timeout_seconds: float) -> object:
    deadline = Deadline(timeout_seconds)
    with closing(PyroConnection(names.lookup(MASTER, timeout_seconds))) as master:
        return master.call(method, arguments, deadline.left)
