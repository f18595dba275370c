"""Node and client of the InsultService over Redis."""

from lab.applications.broadcast import Broadcaster
from lab.applications.service import ServiceApplication
from lab.brokers import locate_redis
from lab.client.calls import Inbox, ServiceCalls
from lab.contract import Application, Architecture, Target
from lab.limits import DEFAULT_DEADLINE_SECONDS
from lab.options import NodeOptions, add_broadcast_options, node_options, process_parser
from lab.process.node import run
from lab.store import open_store

from .tuned.broadcast import Announcer, receive_ticks
from .tuned.client import PetitionClient
from .tuned.server import PetitionServer, add_batch_option
from .tuned.wire import write_petition

BATCH = 100


class InsultServiceNode:
    """Serves the InsultService; as one node it also broadcasts. Its state is in Redis in any case."""

    def __init__(self, options: NodeOptions, batch: int = BATCH) -> None:
        url = locate_redis()
        self._store = open_store(url, options.namespace)
        application = ServiceApplication(self._store)
        self._server = PetitionServer(application, Application.SERVICE, options, batch=batch)
        self._announcer = Announcer(url, options.namespace)
        is_alone = options.architecture is Architecture.ONE_NODE
        self._broadcaster = (
            Broadcaster(self._store, self._announcer.announce, options.interval_seconds) if is_alone else None
        )
        self._address = options.namespace

    def start(self) -> str:
        self._server.start()
        if self._broadcaster:
            self._broadcaster.start()
        return f"{self._address}:{Application.SERVICE}"

    def canary(self) -> None:
        self._server.canary(lambda reply_to: write_petition("X2", reply_to, "canary", limit=1))

    def join(self) -> None:
        self._server.join()

    def drain(self, timeout_seconds: float) -> None:
        if self._broadcaster:
            self._broadcaster.stop()
        self._server.drain(timeout_seconds)
        self._announcer.close()
        self._store.close()


class InsultServiceClient(PetitionClient, ServiceCalls):
    """Client of the :class:`~lab.contract.InsultService` at *target*."""

    def __init__(self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS) -> None:
        super().__init__(target, Application.SERVICE, deadline_seconds)

    def subscribe(self) -> Inbox:
        return receive_ticks(self._target)


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("redis_impl.insult_service", "Serve the InsultService over Redis.")
    add_broadcast_options(parser)
    add_batch_option(parser, BATCH)
    arguments = parser.parse_args(argv)
    return run("node", lambda: InsultServiceNode(node_options(arguments), arguments.batch or BATCH))


if __name__ == "__main__":
    raise SystemExit(main())
