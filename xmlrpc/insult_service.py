"""Node and client of the InsultService over XML-RPC."""

from lab.options import NodeOptions, add_broadcast_options, add_callback_options, node_options, process_parser
from lab.process.direct import DirectService, DirectServiceClient
from lab.process.node import run

from .topology import SERVICE_PORT
from .tuned.server import WIRE


class InsultServiceNode(DirectService):
    """Serves the InsultService; as one node it also broadcasts, with *master* it is one of n."""

    def __init__(self, options: NodeOptions, master: str = "") -> None:
        super().__init__(WIRE, options, SERVICE_PORT, master)


class InsultServiceClient(DirectServiceClient):
    """Client of the :class:`~lab.contract.InsultService` at *target*."""

    wire = WIRE


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("xmlrpc.insult_service", "Serve the InsultService over XML-RPC.")
    parser.add_argument("--master", default="", metavar="URL", help="be one of n nodes of this master")
    add_broadcast_options(parser)
    add_callback_options(parser)
    arguments = parser.parse_args(argv)
    return run("node", lambda: InsultServiceNode(node_options(arguments), arguments.master))


if __name__ == "__main__":
    raise SystemExit(main())
