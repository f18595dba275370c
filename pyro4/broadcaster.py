"""The broadcaster of n nodes: calls back the subscribers of the shared store."""

from lab.applications.broadcast import Broadcaster, FanOut
from lab.applications.service import open_node_store
from lab.contract import Architecture
from lab.options import NodeOptions, add_broadcast_options, node_options, process_parser
from lab.process.direct import Notifier
from lab.process.node import run

from .tuned.node import add_name_server_option, wire_of


class BroadcasterNode:
    """Sends the ticks; it is started and stopped through the store, by any node."""

    def __init__(self, options: NodeOptions) -> None:
        self._store = open_node_store(options)
        self._notifier = Notifier(wire_of())
        self._fan_out = FanOut(self._store, self._notifier.notify)
        self._broadcaster = Broadcaster(self._store, self._fan_out, options.interval_seconds)

    def start(self) -> str:
        self._broadcaster.start()
        return "calls subscribers, is called by nobody"

    def canary(self) -> None:
        self._store.ping()

    def join(self) -> None:
        """Do nothing: the broadcaster finds its work in the store."""

    def drain(self, timeout_seconds: float) -> None:
        self._broadcaster.stop(timeout_seconds)
        self._fan_out.close()
        self._notifier.close()
        self._store.close()


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("pyro4.broadcaster", "Broadcast for n nodes over Pyro4.")
    parser.set_defaults(architecture=Architecture.N_NODE)
    add_name_server_option(parser)
    add_broadcast_options(parser)
    arguments = parser.parse_args(argv)
    return run("broadcaster", lambda: BroadcasterNode(node_options(arguments)))


if __name__ == "__main__":
    raise SystemExit(main())
