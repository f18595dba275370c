"""The master: knows the live nodes of both applications and tells clients which to use."""

from lab.options import node_options, process_parser
from lab.process.node import run

from .tuned.master import MasterNode
from .tuned.node import add_name_server_option


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("pyro4.master", "Know the live nodes and tell each client one.")
    add_name_server_option(parser)
    arguments = parser.parse_args(argv)
    return run("master", lambda: MasterNode(node_options(arguments), arguments.name_server))


if __name__ == "__main__":
    raise SystemExit(main())
