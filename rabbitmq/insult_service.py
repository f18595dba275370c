"""Node and client of the InsultService over RabbitMQ."""

from lab.applications.broadcast import Broadcaster
from lab.applications.service import ServiceApplication, open_node_store
from lab.client.calls import Inbox, ServiceCalls
from lab.contract import Architecture, Target
from lab.limits import DEFAULT_DEADLINE_SECONDS
from lab.operations import Operation, perform
from lab.options import NodeOptions, add_broadcast_options, node_options, process_parser
from lab.process.node import run

from .tuned.broadcast import receive_ticks
from .tuned.client import ServiceQueueClient
from .tuned.delivery import Delivery
from .tuned.node import QueueNode, add_queue_options, consumers
from .tuned.wire import (
    SERVICE_CODES,
    Kind,
    Message,
    Names,
    code_of,
    fields_of,
    forwarded,
    operation_id_of,
    operation_of,
    reply_to,
    text_of,
)

PREFETCH = 200
FORWARDED = (Operation.START_BROADCAST, Operation.STOP_BROADCAST)


class InsultServiceNode:
    """Serves the InsultService.

    One node has its state in memory and broadcasts itself. n nodes share their state in Redis, and pass
    requests to start or stop the broadcast on to the broadcaster's queue.
    """

    def __init__(self, options: NodeOptions, prefetch: int = PREFETCH, queue_type: str = "") -> None:
        self._names = Names(options.namespace)
        self._store = open_node_store(options)
        self._application = ServiceApplication(self._store)
        is_alone = options.architecture is Architecture.ONE_NODE
        self._forwards = () if is_alone else FORWARDED
        self._node = QueueNode(
            options,
            lambda connection: consumers(connection, self._names.service, self._handle, prefetch),
            queue_type,
            retried=[self._names.service],
            is_sole=is_alone,
        )
        announce, seconds = self._node.announce, options.interval_seconds
        self._broadcaster = Broadcaster(self._store, announce, seconds) if is_alone else None

    def start(self) -> str:
        self._node.start()
        if self._broadcaster:
            self._broadcaster.start()
        return self._names.service

    def canary(self) -> None:
        self._node.canary("X4", b'{"limit": 1}')
        self._store.ping()

    def join(self) -> None:
        self._node.join()

    def drain(self, timeout_seconds: float) -> None:
        if self._broadcaster:
            self._broadcaster.stop()
        self._node.drain(timeout_seconds)
        self._store.close()

    def _handle(self, delivery: Delivery) -> list[Message]:
        properties, body = delivery.properties, delivery.body
        code = code_of(properties)
        operation = operation_of(code, SERVICE_CODES) if code else Operation.ADD_INSULT
        if operation in self._forwards:
            petition = forwarded(code, properties)
            return [Message(self._names.broadcaster, body, petition, kind=Kind.PETITION)]
        if operation in (Operation.ADD_INSULT, Operation.REMOVE_INSULT):
            arguments: dict[str, object] = {"insult": text_of(properties, body)}
        elif operation is Operation.GET_INSULTS:
            fields = fields_of(properties, body)
            arguments = {name: fields[name] for name in ("after", "limit") if name in fields}
        else:
            arguments = {}
        answer = perform(self._application, operation, arguments, operation_id_of(properties))
        return reply_to(properties, answer)


class InsultServiceClient(ServiceQueueClient, ServiceCalls):
    """Client of the :class:`~lab.contract.InsultService` at *target*."""

    def __init__(self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS) -> None:
        super().__init__(target, deadline_seconds)
        self._target = target

    def subscribe(self) -> Inbox:
        return receive_ticks(self._target)


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("rabbitmq.insult_service", "Serve the InsultService over RabbitMQ.")
    add_broadcast_options(parser)
    add_queue_options(parser, PREFETCH)
    arguments = parser.parse_args(argv)
    return run(
        "node",
        lambda: InsultServiceNode(
            node_options(arguments), arguments.prefetch or PREFETCH, arguments.queue_type
        ),
    )


if __name__ == "__main__":
    raise SystemExit(main())
