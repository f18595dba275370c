"""Node and client of the InsultFilter over RabbitMQ."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import cast
from uuid import uuid4

from lab.applications.filter import Built, build_filter
from lab.applications.service import open_node_store
from lab.client.calls import FilterCalls
from lab.contract import Architecture, Target
from lab.errors import InvalidRequest
from lab.limits import DEFAULT_DEADLINE_SECONDS
from lab.operations import Operation, new_operation_id, perform
from lab.options import NodeOptions, add_filter_options, node_options, process_parser
from lab.process.node import run

from .tuned.client import FilterQueueClient, Request
from .tuned.connection import Connection
from .tuned.delivery import Delivery, RetryQueue, Watch
from .tuned.node import QueueNode, add_queue_options, consumers
from .tuned.server import Consumer, FetchingConsumer
from .tuned.wire import (
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

PREFETCH = 200
BUSY_PREFETCH = 3
"""If each text takes time: one to work on, and two on the way to and from the broker."""
CONTROL_PREFETCH = 1


class InsultFilterNode:
    """Serves the InsultFilter: texts on one queue, and questions about them on another.

    *names*: the queues of the autoscaler, whose workers answer no questions and should start quickly; none:
    those of the namespace. *watch* is told what is under way. *built*: what was made before a fork.
    """

    def __init__(
        self,
        options: NodeOptions,
        prefetch: int | None = None,
        queue_type: str = "",
        names: Names | None = None,
        watch: Watch | None = None,
        built: Built | None = None,
    ) -> None:
        self._names = names or Names(options.namespace)
        self._answers = names is None
        self._store = built.store if built else open_node_store(options)
        self._parts = build_filter(options, self._store, has_work_list=False, built=built)
        self._application = self._parts.application
        self._prefetch = prefetch or (PREFETCH if self._application.is_non_blocking else BUSY_PREFETCH)
        self._watch = watch
        self._takes = not options.on_demand
        self._retries = RetryQueue(self._names.work)
        self._control: FetchingConsumer | None = None
        self._node = QueueNode(
            options,
            self._consumers,
            queue_type,
            self._names,
            [self._names.work],
            # The autoscaler's workers are given their queues. They keep no results, and there are many.
            is_sole=names is None and options.architecture is Architecture.ONE_NODE,
            is_light=names is not None,
        )

    def start(self) -> str:
        self._node.start()
        self._parts.start()
        return self._names.work

    def canary(self) -> None:
        self._node.canary("", b"canary")

    def join(self) -> None:
        self._node.join()

    def drain(self, timeout_seconds: float) -> None:
        self._node.drain(timeout_seconds)
        self._parts.stop(timeout_seconds)
        self._store.close()

    def _consumers(self, connection: Callable[[], Connection]) -> list[Consumer]:
        work, control = self._names.work, [self._names.control]
        both = consumers(connection, work, self._work, self._prefetch, self._watch, self._takes)
        if not self._answers:
            return [*both]
        self._control = FetchingConsumer(connection, control, self._answer, CONTROL_PREFETCH)
        return [*both, self._control]

    def _work(self, delivery: Delivery) -> list[Message]:
        """Filter a text. Reply if a reply is wanted; else keep the result."""
        return self._filtered(delivery, "")[1]

    def _filtered(self, delivery: Delivery, resolve_id: str) -> tuple[str, list[Message]]:
        properties = delivery.properties
        petition_id = operation_id_of(properties) or uuid4().hex
        text = text_of(properties, delivery.body)
        filtered = self._application.filter(text)
        if not properties.reply_to or resolve_id:
            self._store.complete(petition_id, filtered, resolve_id, body=text)
        return filtered, reply_to(properties, filtered)

    def _answer(self, delivery: Delivery) -> list[Message]:
        """Answer a question on the control queue."""
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

    def _resolve_next(self, control: FetchingConsumer, operation_id: str) -> tuple[str | None, list[Message]]:
        """Filter the oldest waiting text that is valid. Return it, and the messages to publish."""
        messages: list[Message] = []
        work, retry = self._names.work, self._retries.retry
        for queue in [work] if self._takes else [retry, work]:
            while waiting := control.fetch(queue):
                if waiting.redelivered:
                    decide = self._retries.after_death if queue == retry else self._retries.move
                    messages += decide(waiting)
                    continue
                try:
                    filtered, replies = self._filtered(waiting, operation_id)
                except InvalidRequest as error:  # tell its sender; the next one is the oldest now
                    messages += self._retries.refuse(waiting, error)
                else:
                    return filtered, [*messages, *replies]
        return None, messages


class InsultFilterClient(FilterQueueClient, FilterCalls):
    """Client of the :class:`~lab.contract.InsultFilter` at *target*."""

    def __init__(self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS) -> None:
        super().__init__(target, deadline_seconds)

    def _filter_checked(self, texts: Iterator[str], in_flight: int) -> Iterator[str]:
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
        finally:  # also if the reader stops, or after an error
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
