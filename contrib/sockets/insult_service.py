"""Node and client of the InsultService over sockets."""

from lab.applications.broadcast import Broadcaster, FanOut
from lab.applications.callbacks import AllowedHosts, CalledBackService
from lab.applications.service import open_node_store
from lab.client.calls import ServiceCalls
from lab.client.retry import MOST_OF_IT, Deadline
from lab.client.subscription import Inbox
from lab.contract import Application, Target
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

from ._callback import notify, receive_ticks
from ._client import NodeClient
from ._node import NodeServer
from .topology import SERVICE_PORT
from .transport import split_uri


class InsultServiceNode:
    """Serves the InsultService, with *master* as one of n; of the nodes of a store, one broadcasts."""

    def __init__(self, options: NodeOptions, master: str = "") -> None:
        self._store = open_node_store(options)
        allowed = AllowedHosts(options.allow_subscribers)
        application = CalledBackService(self._store, "tcp", split_uri, allowed)
        self._server = NodeServer(application, SERVICE_OPERATIONS, options, Application.SERVICE, master)
        self._fan_out = FanOut(self._store, notify)
        self._broadcaster = Broadcaster(self._store, self._fan_out, options.interval_seconds)

    def start(self) -> str:
        address = self._server.start(SERVICE_PORT)
        self._broadcaster.start()
        return address

    def canary(self) -> None:
        self._server.canary(Operation.GET_INSULTS, "", 1)

    def join(self) -> None:
        self._server.join()

    def drain(self, timeout_seconds: float) -> None:
        deadline = Deadline(timeout_seconds * MOST_OF_IT)
        self._broadcaster.stop(deadline.left)
        self._server.drain(deadline.left)
        self._fan_out.close()
        self._store.close()


class InsultServiceClient(NodeClient, ServiceCalls):
    """Client of the :class:`~lab.contract.InsultService` at *target*."""

    def __init__(self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS) -> None:
        super().__init__(target, Application.SERVICE, deadline_seconds)

    def subscribe(self) -> Inbox:
        return receive_ticks(InsultServiceClient(self._target, self.deadline_seconds))


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("contrib.sockets.insult_service", "Serve the InsultService over sockets.")
    parser.add_argument("--master", default="", metavar="ADDRESS", help="be one of n nodes of this master")
    add_broadcast_options(parser)
    add_callback_options(parser)
    arguments = parser.parse_args(argv)
    return run("node", lambda: InsultServiceNode(node_options(arguments), arguments.master))


if __name__ == "__main__":
    raise SystemExit(main())
