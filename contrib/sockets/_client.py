"""What the clients of both applications share: a node's connection, replaced when the node dies."""

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from lab.client.retry import Failover, call_with_probe, retry_while_unavailable
from lab.contract import Application, Architecture, Target
from lab.operations import MUTATING_OPERATIONS, Operation, new_operation_id
from lab.validation import clean_deadline

from .transport import Connection, answers

Answer = TypeVar("Answer")


class NodeClient:
    """Calls operations on the node at *target*, or on the one that the master at *target* names."""

    def __init__(self, target: Target, application: Application, deadline_seconds: float) -> None:
        self.deadline_seconds = clean_deadline(deadline_seconds)
        self._application = application
        self._target = target
        self._master = Connection(target.address) if target.architecture is Architecture.N_NODE else None
        self._had_node = False
        self._failover = Failover(
            self._assign,
            lambda address, left: Connection(address),
            self._report_dead if self._master else None,
        )

    def perform(self, operation: Operation, *arguments: object, deadline_seconds: float = 0.0) -> object:
        """Return the answer to *operation*, repeated at another node under the same id if its node dies."""
        operation_id = new_operation_id() if operation in MUTATING_OPERATIONS else ""
        return self._call(
            lambda node, left: node.call(operation, arguments, left, operation_id), deadline_seconds
        )

    def perform_many(self, operation: Operation, arguments: list[str]) -> list[object]:
        """Return the answers to *operation*, one that changes nothing, with each of *arguments*."""
        return self._call(lambda node, left: node.call_many(operation, arguments, left))

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

    def _call(self, ask: Callable[[Connection, float], Answer], deadline_seconds: float = 0.0) -> Answer:
        def attempt(node: Connection, left: float) -> Answer:
            if not self._master:
                return ask(node, left)
            return call_with_probe(partial(ask, node), lambda: answers(node.address), left)

        return self._failover.call(attempt, deadline_seconds or self.deadline_seconds)

    def _assign(self, left: float) -> str:
        if not self._master:
            return self._target.address
        ask = partial(self._master.call, "get_node", [self._application])
        node = str(retry_while_unavailable(ask, left) if self._had_node else ask(left))
        self._had_node = True
        return node

    def _report_dead(self, address: str, left: float) -> None:
        if self._master:
            self._master.call("report_dead", [self._application, address], left)
