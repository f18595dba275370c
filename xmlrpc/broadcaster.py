"""The broadcaster of n nodes: calls back the subscribers of the shared store."""

from lab.contract import Architecture
from lab.options import NodeOptions, add_broadcast_options, add_callback_options, node_options, process_parser
from lab.process.direct import DirectBroadcaster
from lab.process.node import run

from .topology import BROADCASTER_PORT
from .tuned.server import WIRE


class BroadcasterNode(DirectBroadcaster):
    """Sends the ticks, and answers the broadcast's operations as any node does: their state is shared."""

    def __init__(self, options: NodeOptions) -> None:
        super().__init__(WIRE, options, BROADCASTER_PORT)


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("xmlrpc.broadcaster", "Broadcast for n nodes over XML-RPC.", BROADCASTER_PORT)
    parser.set_defaults(architecture=Architecture.N_NODE)
    add_broadcast_options(parser)
    add_callback_options(parser)
    arguments = parser.parse_args(argv)
    return run("broadcaster", lambda: BroadcasterNode(node_options(arguments)))


if __name__ == "__main__":
    raise SystemExit(main())
