"""Node and client of the InsultFilter over RabbitMQ."""

import time
from collections import deque
from collections.abc import Iterator
from typing import cast
from uuid import uuid4

from lab.applications.build import build_filter
from lab.applications.service import perform
from lab.applications.state import open_node_store
from lab.client.calls import FilterCalls
from lab.contract import Architecture, Target
from lab.errors import InvalidRequest
from lab.ids import new_operation_id
from lab.limits import DEFAULT_DEADLINE_SECONDS
from lab.operations import Operation
from lab.options import NodeOptions, add_filter_options, node_options, process_parser
from lab.process.node import run

from ._client import FilterQueueClient
from ._node import canary_properties
from ._options import add_queue_options
from ._wire import (
    CONTROL_CODES,
    Message,
    Names,
    code_of,
    fields_of,
    operation_id_of,
    operation_of,
    reply_to,
    text_of,
)
from .transport import (
    Delivery,
    FetchingLane,
    Lane,
    QueueServer,
    Request,
    Suspects,
    Watch,
    two_lanes,
)

PREFETCH = 200
BUSY_PREFETCH = 3
"""Where each text takes time: one to work on and two that bridge the way to the broker and back."""
CONTROL_PREFETCH = 1


class InsultFilterNode:
    """Serves the InsultFilter: texts on one queue, what is asked about them on another.

    *names*: the queues, none for those of the namespace. *watch* is told what is under way.
    """

    def __init__(
        self,
        options: NodeOptions,
        prefetch: int | None = None,
        queue_type: str = "",
        names: Names | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._names = names or Names(options.namespace)
        self._store = open_node_store(options)
        self._parts = build_filter(options, self._store, has_work_list=False)
        self._application = self._parts.application
        usual = PREFETCH if self._application.is_instant else BUSY_PREFETCH
        work, takes = self._names.work, not options.on_demand
        self._suspects = Suspects(work)
        self._resolves = [work] if takes else [self._suspects.suspect, work]
        self._control: FetchingLane | None = None
        self._server = QueueServer(
            options,
            lambda link: [
                *two_lanes(link, work, self._work, prefetch or usual, watch, takes),
                self._control_lane(FetchingLane(link, [self._names.control], self._answer, CONTROL_PREFETCH)),
            ],
            queue_type,
            self._names,
            [work],
            # A worker is given its queues. It keeps no results, and there may be many.
            is_sole=names is None and options.architecture is Architecture.ONE_NODE,
        )

    def start(self) -> str:
        self._server.start()
        self._parts.start()
        return self._names.work

    def canary(self) -> None:
        self._server.canary(Message("", b"canary", canary_properties()))

    def join(self) -> None:
        self._server.join()

    def drain(self, timeout_seconds: float) -> None:
        self._server.drain(timeout_seconds)
        self._parts.stop(timeout_seconds)
        self._store.close()

    def _control_lane(self, lane: FetchingLane) -> Lane:
        self._control = lane
        return lane

    def _work(self, delivery: Delivery) -> list[Message]:
        """Filter a text: reply to who asks for it, else keep the result."""
        return self._filtered(delivery, "")[1]

    def _filtered(self, delivery: Delivery, resolve_id: str) -> tuple[str, list[Message]]:
        properties = delivery.properties
        petition_id = operation_id_of(properties) or uuid4().hex
        filtered = self._application.filter(text_of(properties, delivery.body))
        if not properties.reply_to or resolve_id:
            self._store.complete(petition_id, filtered, resolve_id)
        return filtered, reply_to(properties, filtered)

    def _answer(self, delivery: Delivery) -> list[Message]:
        """Answer what is asked on the control queue."""
        properties = delivery.properties
        operation = operation_of(code_of(properties), CONTROL_CODES)
        operation_id = operation_id_of(properties)
        if operation is Operation.RESOLVE:
            return self._resolve(delivery, operation_id)
        fields = fields_of(properties, delivery.body)
        if "petition_id" in fields:
            answer = perform(self._application, Operation.RESULT, {"petition_id": fields["petition_id"]})
        else:
            limit = {"limit": fields["limit"]} if "limit" in fields else {}
            answer = perform(self._application, Operation.GET_RESULTS, limit)
        return reply_to(properties, answer)

    def _resolve(self, delivery: Delivery, operation_id: str) -> list[Message]:
        earlier = self._store.resolved(operation_id) if operation_id else None
        if earlier or self._control is None:
            return reply_to(delivery.properties, earlier.text if earlier else None)
        try:
            text, messages = self._resolve_next(self._control, operation_id or uuid4().hex)
        except Exception:
            self._control.put_back()
            raise
        return [*messages, *reply_to(delivery.properties, text)]

    def _resolve_next(self, control: FetchingLane, operation_id: str) -> tuple[str | None, list[Message]]:
        """Filter the oldest waiting text that can be; return it with what became of those before it."""
        messages: list[Message] = []
        for queue in self._resolves:
            while waiting := control.fetch(queue):
                if waiting.redelivered:
                    is_suspect = queue == self._suspects.suspect
                    decide = self._suspects.after_death if is_suspect else self._suspects.move
                    messages += decide(waiting)
                    continue
                try:
                    filtered, replies = self._filtered(waiting, operation_id)
                except InvalidRequest as error:  # a matter of who sent it; the next one is the oldest now
                    messages += reply_to(waiting.properties, error)
                else:
                    return filtered, [*messages, *replies]
        return None, messages


class InsultFilterClient(FilterQueueClient, FilterCalls):
    """Client of the :class:`~lab.contract.InsultFilter` at *target*."""

    def __init__(self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS) -> None:
        super().__init__(target, deadline_seconds)

    def filter_checked(self, texts: Iterator[str], in_flight: int) -> Iterator[str]:
        under_way: deque[tuple[str, Request]] = deque()
        try:
            for text in texts:
                operation_id = new_operation_id()
                body = text.encode()
                under_way.append((operation_id, self.send(self.names.work, "", body, operation_id)))
                if len(under_way) >= in_flight:
                    yield self._next(under_way)
            while under_way:
                yield self._next(under_way)
        finally:  # who reads no further, or was told of an error
            for operation_id, _ in under_way:
                self.forget(operation_id)

    def _next(self, under_way: deque[tuple[str, Request]]) -> str:
        operation_id, request = under_way.popleft()
        return cast(str, self.answer(operation_id, request, time.monotonic() + self.deadline_seconds))


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("rabbitmq.insult_filter", "Serve the InsultFilter over RabbitMQ.")
    add_filter_options(parser)
    add_queue_options(parser, PREFETCH)
    arguments = parser.parse_args(argv)
    return run(
        "node", lambda: InsultFilterNode(node_options(arguments), arguments.prefetch, arguments.queue_type)
    )


if __name__ == "__main__":
    raise SystemExit(main())
