"""The broadcaster of n nodes: publishes what the shared store says is to be broadcast."""

from lab.applications.broadcast import Broadcaster
from lab.brokers import locate_redis
from lab.contract import Architecture
from lab.options import NodeOptions, add_broadcast_options, node_options, process_parser
from lab.process.node import run
from lab.store import open_store

from .tuned.broadcast import Announcer


class BroadcasterNode:
    """Sends the ticks; it is started and stopped through the store, by any node."""

    def __init__(self, options: NodeOptions) -> None:
        url = locate_redis()
        self._store = open_store(url, options.namespace)
        self._announcer = Announcer(url, options.namespace)
        self._broadcaster = Broadcaster(self._store, self._announcer.announce, options.interval_seconds)
        self._address = options.namespace

    def start(self) -> str:
        self._broadcaster.start()
        return f"{self._address}:broadcast:channel"

    def canary(self) -> None:
        self._store.ping()

    def join(self) -> None:
        """Do nothing: the broadcaster finds its work in the store."""

    def drain(self, timeout_seconds: float) -> None:
        self._broadcaster.stop(timeout_seconds)
        self._announcer.close()
        self._store.close()


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("redis_impl.broadcaster", "Broadcast for n nodes over Redis.")
    parser.set_defaults(architecture=Architecture.N_NODE)
    add_broadcast_options(parser)
    arguments = parser.parse_args(argv)
    return run("broadcaster", lambda: BroadcasterNode(node_options(arguments)))


if __name__ == "__main__":
    raise SystemExit(main())
