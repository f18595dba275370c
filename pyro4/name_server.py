"""The name server, with our settings and limits; Pyro4's own (``python -m Pyro4.naming``) works too."""

from lab.options import NodeOptions, node_options, process_parser
from lab.process.node import run

from .topology import NAME_SERVER_PORT
from .tuned.name_server import Names, ServedNames


class NameServerNode:
    """Serves the names of this system's objects."""

    def __init__(self, options: NodeOptions) -> None:
        port = options.port if options.port is not None else NAME_SERVER_PORT
        self._names = ServedNames(options.host, port, options.advertised_host)
        self._address = self._names.address

    def start(self) -> str:
        self._names.start()
        return self._address

    def canary(self) -> None:
        names = Names(self._address)
        names.ping()
        names.close()

    def join(self) -> None:
        """Do nothing: clients know the address."""

    def drain(self, timeout_seconds: float) -> None:
        self._names.stop(timeout_seconds)


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("pyro4.name_server", "Know the objects of a system by name.", NAME_SERVER_PORT)
    arguments = parser.parse_args(argv)
    return run("name_server", lambda: NameServerNode(node_options(arguments)))


if __name__ == "__main__":
    raise SystemExit(main())
