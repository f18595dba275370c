"""The master: knows the live nodes of both applications, gives ports to starting ones, clients a node."""

from lab.options import NodeOptions, node_options, port, process_parser
from lab.process.direct import DirectMaster
from lab.process.node import run

from .topology import MASTER_PORT
from .tuned.server import WIRE

NODE_PORTS_ABOVE = 2
"""The first port of a node is so far above the master's; in between is the broadcaster's."""


class InsultMaster(DirectMaster):
    """Serves the methods by which nodes join and clients are assigned. Heartbeats rebuild its memory."""

    def __init__(self, options: NodeOptions, first_node_port: int) -> None:
        super().__init__(WIRE, options, MASTER_PORT, first_node_port)


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("xmlrpc.master", "Know the live nodes and tell each client one.", MASTER_PORT)
    parser.add_argument(
        "--node-ports", type=port, metavar="FIRST", help="first port given to nodes (default: --port + 2)"
    )
    arguments = parser.parse_args(argv)
    first = arguments.node_ports or (arguments.port or MASTER_PORT) + NODE_PORTS_ABOVE
    return run("master", lambda: InsultMaster(node_options(arguments), first))


if __name__ == "__main__":
    raise SystemExit(main())
