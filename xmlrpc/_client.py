"""What the clients of both applications share: a node's connection, replaced when the node dies."""

from functools import partial
from types import TracebackType
from typing import Self

from lab.client.failover import Failover
from lab.client.retry import outlasting, patiently
from lab.contract import Application, Architecture, Target
from lab.ids import new_operation_id
from lab.operations import MUTATING_OPERATIONS, Operation
from lab.validation import clean_deadline

from ._connection import XmlRpcConnection, answers
from ._membership import MasterClient


class NodeClient:
    """Calls operations on the node at *target*, or on the one that the master at *target* names."""

    def __init__(self, target: Target, application: Application, deadline_seconds: float) -> None:
        self.deadline_seconds = clean_deadline(deadline_seconds)
        self._application = application
        self._target = target
        self._master = MasterClient(target.address) if target.architecture is Architecture.N_NODE else None
        self._had_node = False
        self._failover = Failover(
            self._assign,
            lambda url, left: XmlRpcConnection(url),
            self._report_dead if self._master else None,
        )

    def perform(self, operation: Operation, *arguments: object, deadline_seconds: float = 0.0) -> object:
        """Return the answer to *operation*, repeated at another node under the same id if its node dies."""
        operation_id = new_operation_id() if operation in MUTATING_OPERATIONS else ""
        return self.call(operation.value, arguments, operation_id, deadline_seconds)

    def call(
        self,
        method: str,
        arguments: tuple[object, ...],
        operation_id: str = "",
        deadline_seconds: float = 0.0,
    ) -> object:
        """Return the answer of *method*; see :meth:`perform`."""

        def attempt(node: XmlRpcConnection, left: float) -> object:
            if not self._master:
                return node.call(method, arguments, left, operation_id)
            return patiently(
                lambda seconds: node.call(method, arguments, seconds, operation_id),
                lambda: answers(node.url),
                left,
            )

        return self._failover.call(attempt, deadline_seconds or self.deadline_seconds)

    def close(self) -> None:
        self._failover.close()
        if self._master:
            self._master.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _assign(self, left: float) -> str:
        if not self._master:
            return self._target.address
        ask = partial(self._master.get_node, self._application)
        node = outlasting(ask, left) if self._had_node else ask(left)
        self._had_node = True
        return node

    def _report_dead(self, url: str, left: float) -> None:
        if self._master:
            self._master.report_dead(self._application, url, left)
