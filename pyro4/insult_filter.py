"""Node and client of the InsultFilter over Pyro4."""

from typing import cast

from lab.errors import Code, InvalidRequest
from lab.operations import Operation
from lab.options import NodeOptions, add_filter_options, node_options, process_parser
from lab.process.direct import DirectFilter, DirectFilterClient
from lab.process.node import run

from .tuned.connection import PyroConnection
from .tuned.node import add_name_server_option, add_server_type_option, wire_of


class InsultFilterNode(DirectFilter):
    """Serves the InsultFilter and works through the work list."""

    def __init__(self, options: NodeOptions, name_server: str, server_type: str) -> None:
        super().__init__(wire_of(server_type), options, 0, name_server)


class InsultFilterClient(DirectFilterClient):
    """Client of the :class:`~lab.contract.InsultFilter` at *target*."""

    wire = wire_of()

    def _filtered(self, texts: list[str]) -> list[str]:
        try:
            return self.ask(
                lambda node, left: cast(PyroConnection, node).batch(Operation.FILTER, texts, left)
            )
        except InvalidRequest as error:
            if error.code is not Code.TOO_LARGE:
                raise
            return list(map(self.filter, texts))  # together their answers grew too large


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("pyro4.insult_filter", "Serve the InsultFilter over Pyro4.")
    add_name_server_option(parser)
    add_filter_options(parser)
    add_server_type_option(parser)
    arguments = parser.parse_args(argv)
    return run(
        "node",
        lambda: InsultFilterNode(node_options(arguments), arguments.name_server, arguments.server_type),
    )


if __name__ == "__main__":
    raise SystemExit(main())
