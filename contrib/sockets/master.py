"""The master: knows the live nodes of both applications, and hands each client one, in turn."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from lab.contract import Application
from lab.errors import Code, InvalidRequest, Unavailable
from lab.options import NodeOptions, node_options, process_parser
from lab.process.joining import check_room
from lab.process.node import run
from lab.process.registry import Registry

from ._node import LEASE_SECONDS
from .topology import MASTER_PORT
from .transport import Server, answers, split_uri

log = logging.getLogger(__name__)


class SocketsMaster:
    """Its memory is rebuilt by heartbeats, which it stamps with its own monotonic clock."""

    def __init__(self, options: NodeOptions) -> None:
        self._registries = {application: Registry(LEASE_SECONDS) for application in Application}
        self._lock = threading.Lock()
        self._options = options
        self._server = Server(
            {
                "beat": _with_address(self.beat),
                "leave": _with_address(self.leave),
                "report_dead": _with_address(self.report_dead),
                "get_node": lambda arguments, operation_id: self.get_node(_application(arguments)),
            }
        )

    def start(self) -> str:
        port = MASTER_PORT if self._options.port is None else self._options.port
        self._address = self._server.start(self._options.host, port, self._options.advertised_host)
        return self._address

    def canary(self) -> None:
        if not answers(self._address):
            raise Unavailable(f"the master does not answer at {self._address}")

    def join(self) -> None:
        """Nobody to tell: nodes and clients are given the master's address."""

    def drain(self, timeout_seconds: float) -> None:
        self._server.drain(timeout_seconds)

    def beat(self, application: Application, address: str) -> bool:
        """Note that the node at *address* lives; True if it was not known."""
        with self._lock:
            registry, now = self._registries[application], time.monotonic()
            if registry.beat(address, now):
                return False
            split_uri(address)  # is it one?
            check_room(registry, now)
            registry.join(address, address, now)
        log.info("%s node joined at %s", application, address)
        return True

    def leave(self, application: Application, address: str) -> bool:
        """Drop the node at *address*, which stops."""
        with self._lock:
            return self._registries[application].leave(address)

    def get_node(self, application: Application) -> str:
        """Return the address of the live node whose turn it is."""
        with self._lock:
            member = self._registries[application].round_robin(time.monotonic())
        if member is None:
            raise Unavailable(f"no {application} node is live; start one with --master")
        return member.address

    def report_dead(self, application: Application, address: str) -> bool:
        """Look whether the node at *address* answers, and drop it if not; True if it was dropped."""
        with self._lock:
            is_known = self._registries[application].find(address, time.monotonic()) is not None
        return is_known and not answers(address) and self.leave(application, address)


def _with_address(
    function: Callable[[Application, str], bool],
) -> Callable[[Sequence[object], str], object]:
    def call(arguments: Sequence[object], operation_id: str) -> object:
        if len(arguments) != 2:
            raise InvalidRequest(Code.MISSING_FIELD, "give the application and the node's address")
        if not isinstance(arguments[1], str):
            raise InvalidRequest(Code.WRONG_TYPE, "the node's address is a text")
        return function(_application(arguments), arguments[1])

    return call


def _application(arguments: Sequence[object]) -> Application:
    if not arguments or arguments[0] not in list(Application):
        raise InvalidRequest(Code.MALFORMED, "the application is 'service' or 'filter'")
    return Application(str(arguments[0]))


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("contrib.sockets.master", "Know the live nodes and tell each client one.")
    arguments = parser.parse_args(argv)
    return run("master", lambda: SocketsMaster(node_options(arguments)))


if __name__ == "__main__":
    raise SystemExit(main())
