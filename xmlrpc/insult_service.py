"""Node and client of the InsultService over XML-RPC."""

from lab.applications.broadcast import Broadcaster, FanOut
from lab.applications.callbacks import AllowedHosts, CalledBackService
from lab.applications.instant import instant_service_operations
from lab.applications.state import open_node_store
from lab.client.calls import ServiceCalls
from lab.client.deadline import MOST_OF_IT, Deadline
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

from ._callback import Notifier, receive_ticks, split_uri
from ._client import NodeClient
from ._node import NodeServer, methods_of
from .topology import SERVICE_PORT
from .transport import Lane


class InsultServiceNode:
    """Serves the InsultService; as one node it also broadcasts, with *master* it is one of n."""

    def __init__(self, options: NodeOptions, master: str = "") -> None:
        self._store = open_node_store(options)
        is_alone = options.architecture is Architecture.ONE_NODE
        application = CalledBackService(
            self._store, "http", split_uri, AllowedHosts(options.allow_subscribers)
        )
        instant = instant_service_operations(options.architecture)
        lanes = {each: Lane.LOOP if each in instant else Lane.STORE for each in SERVICE_OPERATIONS}
        methods = methods_of(application, lanes, InsultService)
        self._server = NodeServer(methods, options, Application.SERVICE, master)
        self._notifier = Notifier()
        self._fan_out = FanOut(self._store, self._notifier.notify)
        self._broadcaster = (
            Broadcaster(self._store, self._fan_out, options.interval_seconds) if is_alone else None
        )

    def start(self) -> str:
        url = self._server.start(SERVICE_PORT)
        if self._broadcaster:
            self._broadcaster.start()
        return url

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
    parser = process_parser("xmlrpc.insult_service", "Serve the InsultService over XML-RPC.")
    parser.add_argument("--master", default="", metavar="URL", help="be one of n nodes of this master")
    add_broadcast_options(parser)
    add_callback_options(parser)
    arguments = parser.parse_args(argv)
    return run("node", lambda: InsultServiceNode(node_options(arguments), arguments.master))


if __name__ == "__main__":
    raise SystemExit(main())
