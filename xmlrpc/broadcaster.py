"""The broadcaster of n nodes: calls back the subscribers that stand in the shared store."""

from lab.applications.broadcast import Broadcaster, FanOut
from lab.applications.callbacks import AllowedHosts, CalledBackService
from lab.applications.state import open_node_store
from lab.contract import Application, Architecture, InsultService
from lab.operations import Operation
from lab.options import (
    NodeOptions,
    add_broadcast_options,
    add_callback_options,
    node_options,
    process_parser,
)
from lab.process.node import run

from ._callback import Notifier, split_uri
from ._node import NodeServer, methods_of
from .topology import BROADCASTER_PORT
from .transport import Lane

OPERATIONS = (
    Operation.ADD_SUBSCRIBER,
    Operation.REMOVE_SUBSCRIBER,
    Operation.START_BROADCAST,
    Operation.STOP_BROADCAST,
)


class BroadcasterNode:
    """Sends the ticks, and answers the broadcast's operations as any node does: their state is shared."""

    def __init__(self, options: NodeOptions) -> None:
        self._store = open_node_store(options)
        allowed = AllowedHosts(options.allow_subscribers)
        application = CalledBackService(self._store, "http", split_uri, allowed)
        methods = methods_of(application, dict.fromkeys(OPERATIONS, Lane.STORE), InsultService)
        self._server = NodeServer(methods, options, Application.SERVICE, master="")
        self._notifier = Notifier()
        self._fan_out = FanOut(self._store, self._notifier.notify)
        self._broadcaster = Broadcaster(self._store, self._fan_out, options.interval_seconds)

    def start(self) -> str:
        url = self._server.start(BROADCASTER_PORT)
        self._broadcaster.start()
        return url

    def canary(self) -> None:
        self._server.canary("system.listMethods")
        self._store.ping()

    def join(self) -> None:
        """Nobody to tell: the broadcaster finds its work in the store."""

    def drain(self, timeout_seconds: float) -> None:
        self._broadcaster.stop()
        self._server.drain(timeout_seconds)
        self._fan_out.close()
        self._notifier.close()
        self._store.close()


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("xmlrpc.broadcaster", "Broadcast for n nodes over XML-RPC.", BROADCASTER_PORT)
    parser.set_defaults(architecture=Architecture.N_NODE)
    add_broadcast_options(parser)
    add_callback_options(parser)
    arguments = parser.parse_args(argv)
    return run("broadcaster", lambda: BroadcasterNode(node_options(arguments)))


if __name__ == "__main__":
    raise SystemExit(main())
