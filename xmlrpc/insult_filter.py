"""Node and client of the InsultFilter over XML-RPC."""

from typing import cast

from lab.errors import Code
from lab.operations import Operation
from lab.options import NodeOptions, add_filter_options, node_options, process_parser
from lab.process.direct import DirectFilter, DirectFilterClient
from lab.process.node import run

from .topology import FILTER_PORT
from .tuned.server import WIRE
from .tuned.wire import error_from_fault


class InsultFilterNode(DirectFilter):
    """Serves the InsultFilter and works through the work list; with *master* it is one of n."""

    def __init__(self, options: NodeOptions, master: str = "") -> None:
        super().__init__(WIRE, options, FILTER_PORT, master)


class InsultFilterClient(DirectFilterClient):
    """Client of the :class:`~lab.contract.InsultFilter` at *target*."""

    wire = WIRE

    def _filtered(self, texts: list[str]) -> list[str]:
        calls = [{"methodName": Operation.FILTER.value, "params": [text]} for text in texts]
        answers = self.ask(lambda node, left: node.call("system.multicall", (calls,), left))
        return list(map(self._unpacked, texts, cast(list[object], answers)))

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
