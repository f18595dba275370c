"""Node and client of the InsultService over Pyro4."""

from lab.options import NodeOptions, add_broadcast_options, add_callback_options, node_options, process_parser
from lab.process.direct import DirectService, DirectServiceClient
from lab.process.node import run

from .tuned.node import add_name_server_option, add_server_type_option, wire_of


class InsultServiceNode(DirectService):
    """Serves the InsultService; as one node it also broadcasts."""

    def __init__(self, options: NodeOptions, name_server: str, server_type: str) -> None:
        super().__init__(wire_of(server_type), options, 0, name_server)


class InsultServiceClient(DirectServiceClient):
    """Client of the :class:`~lab.contract.InsultService` at *target*."""

    wire = wire_of()


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("pyro4.insult_service", "Serve the InsultService over Pyro4.")
    add_name_server_option(parser)
    add_broadcast_options(parser)
    add_callback_options(parser)
    add_server_type_option(parser)
    arguments = parser.parse_args(argv)
    return run(
        "node",
        lambda: InsultServiceNode(node_options(arguments), arguments.name_server, arguments.server_type),
    )


if __name__ == "__main__":
    raise SystemExit(main())
