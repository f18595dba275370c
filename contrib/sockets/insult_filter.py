"""Node and client of the InsultFilter over sockets."""

from collections.abc import Iterator
from typing import cast

from lab.applications.filter import build_filter
from lab.applications.service import open_node_store
from lab.client.calls import FilterCalls, batches
from lab.client.retry import MOST_OF_IT, Deadline
from lab.contract import Application, Target
from lab.limits import DEFAULT_DEADLINE_SECONDS
from lab.operations import FILTER_OPERATIONS, Operation
from lab.options import NodeOptions, add_filter_options, node_options, process_parser
from lab.process.node import run

from ._client import NodeClient
from ._node import NodeServer
from .topology import FILTER_PORT


class InsultFilterNode:
    """Serves the InsultFilter and works through the work list; with *master* it is one of n."""

    def __init__(self, options: NodeOptions, master: str = "") -> None:
        self._store = open_node_store(options)
        self._parts = build_filter(options, self._store, has_work_list=True)
        application = self._parts.application
        self._server = NodeServer(application, FILTER_OPERATIONS, options, Application.FILTER, master)

    def start(self) -> str:
        address = self._server.start(FILTER_PORT)
        self._parts.start()
        return address

    def canary(self) -> None:
        self._server.canary(Operation.FILTER, "canary")

    def join(self) -> None:
        self._server.join()

    def drain(self, timeout_seconds: float) -> None:
        deadline = Deadline(timeout_seconds * MOST_OF_IT)
        self._server.drain(deadline.left)
        self._parts.stop(deadline.left)
        self._store.close()


class InsultFilterClient(NodeClient, FilterCalls):
    """Client of the :class:`~lab.contract.InsultFilter` at *target*."""

    def __init__(self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS) -> None:
        super().__init__(target, Application.FILTER, deadline_seconds)

    def filter_checked(self, texts: Iterator[str], in_flight: int) -> Iterator[str]:
        for batch in batches(texts, in_flight):
            yield from cast(list[str], self.perform_many(Operation.FILTER, batch))


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("contrib.sockets.insult_filter", "Serve the InsultFilter over sockets.")
    parser.add_argument("--master", default="", metavar="ADDRESS", help="be one of n nodes of this master")
    add_filter_options(parser)
    arguments = parser.parse_args(argv)
    return run("node", lambda: InsultFilterNode(node_options(arguments), arguments.master))


if __name__ == "__main__":
    raise SystemExit(main())
