"""The broadcaster of n nodes: requests come on its own queue, ticks go to a fanout exchange."""

from lab.applications.broadcast import Broadcaster
from lab.applications.service import ServiceApplication, open_node_store
from lab.contract import Architecture
from lab.errors import Code, InvalidRequest
from lab.operations import Operation, perform
from lab.options import NodeOptions, add_broadcast_options, node_options, process_parser
from lab.process.node import run

from .tuned.delivery import Delivery
from .tuned.node import QueueNode, add_queue_options
from .tuned.server import Consumer
from .tuned.wire import SERVICE_CODES, Message, Names, code_of, operation_id_of, operation_of, reply_to

PREFETCH = 10


class BroadcasterNode:
    """Sends the ticks. Nodes pass requests to start or stop the broadcast on to its queue."""

    def __init__(self, options: NodeOptions, queue_type: str = "") -> None:
        self._names = Names(options.namespace)
        self._store = open_node_store(options)
        self._application = ServiceApplication(self._store)
        self._node = QueueNode(
            options,
            lambda connection: [Consumer(connection, [self._names.broadcaster], self._handle, PREFETCH)],
            queue_type,
        )
        self._broadcaster = Broadcaster(
            self._store,
            self._node.announce,
            options.interval_seconds,
        )

    def start(self) -> str:
        self._node.start()
        self._broadcaster.start()
        return self._names.broadcaster

    def canary(self) -> None:
        self._node.canary("canary", b"")
        self._store.ping()

    def join(self) -> None:
        self._node.join()

    def drain(self, timeout_seconds: float) -> None:
        self._broadcaster.stop()
        self._node.drain(timeout_seconds)
        self._store.close()

    def _handle(self, delivery: Delivery) -> list[Message]:
        properties = delivery.properties
        operation = operation_of(code_of(properties), SERVICE_CODES)
        if operation not in (Operation.START_BROADCAST, Operation.STOP_BROADCAST):
            raise InvalidRequest(Code.UNKNOWN_OPERATION, "the broadcaster takes X2 (start) and X3 (stop)")
        answer = perform(self._application, operation, {}, operation_id_of(properties))
        return reply_to(properties, answer)


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("rabbitmq.broadcaster", "Broadcast for n nodes over RabbitMQ.")
    parser.set_defaults(architecture=Architecture.N_NODE)
    add_broadcast_options(parser)
    add_queue_options(parser, PREFETCH)
    arguments = parser.parse_args(argv)
    return run("broadcaster", lambda: BroadcasterNode(node_options(arguments), arguments.queue_type))


if __name__ == "__main__":
    raise SystemExit(main())
