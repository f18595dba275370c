"""Node and client of the InsultService over Pyro4."""

from lab.applications.broadcast import Broadcaster, FanOut
from lab.applications.callbacks import AllowedHosts, CalledBackService
from lab.applications.service import non_blocking_service_operations, open_node_store
from lab.client.calls import ServiceCalls
from lab.client.retry import MOST_OF_IT, Deadline
from lab.client.subscription import Inbox
from lab.contract import Application, Architecture, InsultService, Target
from lab.limits import DEFAULT_DEADLINE_SECONDS
from lab.operations import SERVICE_OPERATIONS, Operation
from lab.options import (
    NodeOptions,
    add_broadcast_options,
    add_callback_options,
    node_options,
    process_parser,
)
from lab.process.node import run

from .tuned.callbacks import Notifier, receive_ticks, split_uri
from .tuned.client import NodeClient
from .tuned.node import NodeServer, add_name_server_option, add_server_type_option


class InsultServiceNode:
    """Serves the InsultService; as one node it also broadcasts."""

    def __init__(self, options: NodeOptions, name_server: str, server_type: str) -> None:
        self._store = open_node_store(options)
        application = CalledBackService(
            self._store, "pyro", split_uri, AllowedHosts(options.allow_subscribers)
        )
        self._server = NodeServer(
            application,
            SERVICE_OPERATIONS,
            non_blocking_service_operations(options.architecture),
            InsultService,
            options,
            Application.SERVICE,
            name_server,
            server_type,
        )
        self._notifier = Notifier()
        self._fan_out = FanOut(self._store, self._notifier.notify)
        is_alone = options.architecture is Architecture.ONE_NODE
        self._broadcaster = (
            Broadcaster(self._store, self._fan_out, options.interval_seconds) if is_alone else None
        )

    def start(self) -> str:
        uri = self._server.start()
        if self._broadcaster:
            self._broadcaster.start()
        return uri

    def canary(self) -> None:
        self._server.canary(Operation.GET_INSULTS, "", 1)

    def join(self) -> None:
        self._server.join()

    def drain(self, timeout_seconds: float) -> None:
        deadline = Deadline(timeout_seconds * MOST_OF_IT)
        if self._broadcaster:
            self._broadcaster.stop(deadline.left)
        self._server.drain(deadline.left)
        self._fan_out.close()
        self._notifier.close()
        self._store.close()


class InsultServiceClient(NodeClient, ServiceCalls):
    """Client of the :class:`~lab.contract.InsultService` at *target*."""

    def __init__(self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS) -> None:
        super().__init__(target, Application.SERVICE, deadline_seconds)

    def subscribe(self) -> Inbox:
        return receive_ticks(InsultServiceClient(self._target, self.deadline_seconds))


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("pyro4.insult_service", "Serve the InsultService over Pyro4.")
    add_name_server_option(parser)
    add_broadcast_options(parser)
    add_callback_options(parser)
    add_server_type_option(parser)
    arguments = parser.parse_args(argv)
    return run(
        "node",
        lambda: InsultServiceNode(node_options(arguments), arguments.name_server, arguments.server_type),
    )


if __name__ == "__main__":
    raise SystemExit(main())
