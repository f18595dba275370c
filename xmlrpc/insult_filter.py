"""Node and client of the InsultFilter over XML-RPC."""

from collections.abc import Iterator
from typing import cast

from lab.applications.build import build_filter
from lab.applications.instant import instant_filter_operations
from lab.applications.state import open_node_store
from lab.client.batches import batches
from lab.client.calls import FilterCalls
from lab.client.deadline import MOST_OF_IT, Deadline
from lab.contract import Application, InsultFilter, Target
from lab.errors import Code
from lab.limits import DEFAULT_DEADLINE_SECONDS
from lab.operations import FILTER_OPERATIONS, Operation
from lab.options import NodeOptions, add_filter_options, node_options, process_parser
from lab.process.node import run

from ._client import NodeClient
from ._node import NodeServer, methods_of
from .topology import FILTER_PORT
from .transport import Lane, error_from_fault


class InsultFilterNode:
    """Serves the InsultFilter and works through the work list; with *master* it is one of n."""

    def __init__(self, options: NodeOptions, master: str = "") -> None:
        self._store = open_node_store(options)
        self._parts = build_filter(options, self._store, has_work_list=True)
        application = self._parts.application
        instant = instant_filter_operations(options.architecture, is_work_instant=application.is_instant)
        lanes = dict.fromkeys(FILTER_OPERATIONS, Lane.STORE)
        lanes |= dict.fromkeys((Operation.FILTER, Operation.RESOLVE), Lane.WORK)
        lanes |= dict.fromkeys(instant, Lane.LOOP)
        methods = methods_of(application, lanes, InsultFilter)
        self._server = NodeServer(methods, options, Application.FILTER, master)

    def start(self) -> str:
        url = self._server.start(FILTER_PORT)
        self._parts.start()
        return url

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
            calls = [{"methodName": Operation.FILTER.value, "params": [text]} for text in batch]
            answers = cast(list[object], self.call("system.multicall", (calls,)))
            for text, answer in zip(batch, answers, strict=True):
                yield self._unpacked(text, answer)

    def _unpacked(self, text: str, answer: object) -> str:
        if isinstance(answer, list):
            return cast(str, answer[0])
        fault = cast(dict[str, object], answer)
        error = error_from_fault(cast(int, fault["faultCode"]), str(fault["faultString"]))
        if error.code is Code.TOO_LARGE:  # the batch's answers grew too large, not this one
            return self.filter(text)
        raise error


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("xmlrpc.insult_filter", "Serve the InsultFilter over XML-RPC.")
    parser.add_argument("--master", default="", metavar="URL", help="be one of n nodes of this master")
    add_filter_options(parser)
    arguments = parser.parse_args(argv)
    return run("node", lambda: InsultFilterNode(node_options(arguments), arguments.master))


if __name__ == "__main__":
    raise SystemExit(main())
