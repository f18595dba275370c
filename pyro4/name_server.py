"""The name server, with our settings and limits; Pyro4's own (``python -m Pyro4.naming``) does as well."""

import threading

from Pyro4 import naming

from lab.errors import Unavailable
from lab.node import run
from lab.options import NodeOptions, node_options, process_parser

from . import _settings as _settings
from .topology import NAME_SERVER_PORT
from .transport import Names


class NameServerNode:
    """Serves the names of this system's objects."""

    def __init__(self, options: NodeOptions) -> None:
        self._options = options
        self._address = ""

    def start(self) -> str:
        port = self._options.port if self._options.port is not None else NAME_SERVER_PORT
        try:
            _, self._daemon, _ = naming.startNS(host=self._options.host, port=port, enableBroadcast=False)
        except OSError as error:
            where = f"{self._options.host}:{port}"
            raise Unavailable(f"cannot listen on {where}: {error.strerror}; try another --port") from error
        threading.Thread(target=self._daemon.requestLoop, name="names", daemon=True).start()
        actual = self._daemon.locationStr.rpartition(":")[2]
        self._address = f"{self._options.advertised_host}:{actual}"
        return self._address

    def canary(self) -> None:
        names = Names(self._address)
        names.ping()
        names.close()

    def join(self) -> None:
        """Nobody to tell."""

    def drain(self, timeout_seconds: float) -> None:
        if self._address:
            self._daemon.shutdown()


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("pyro4.name_server", "Know the objects of a system by name.", NAME_SERVER_PORT)
    arguments = parser.parse_args(argv)
    return run("name_server", lambda: NameServerNode(node_options(arguments)))


if __name__ == "__main__":
    raise SystemExit(main())
