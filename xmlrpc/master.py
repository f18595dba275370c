"""The master: knows the live nodes of both applications, gives ports to starting ones, clients a node."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from lab.contract import Application
from lab.errors import Code, InvalidRequest, Overloaded, Unavailable
from lab.limits import MAX_URI_CHARACTERS
from lab.options import NodeOptions, node_options, port, process_parser
from lab.process.addresses import listener
from lab.process.joining import check_room, first_identifier
from lab.process.node import run
from lab.process.registry import Member, Registry

from ._connection import answers
from ._membership import LEASE_SECONDS
from ._node import NodeServer
from .topology import MASTER_PORT
from .transport import Lane, Method, XmlRpcConnection

log = logging.getLogger(__name__)

NODE_PORTS_ABOVE = 2
"""The first port of a node is so far above the master's; in between is the broadcaster's."""
LAST_PORT = 65535
PORTS_TO_LOOK_AT = 1000


class InsultMaster:
    """Serves the methods by which nodes join and clients are assigned. Its memory is rebuilt by heartbeats.

    Arrivals are stamped with its own monotonic clock; nobody else's time is used.
    """

    def __init__(self, options: NodeOptions, first_node_port: int) -> None:
        self._registries = {application: Registry(LEASE_SECONDS) for application in Application}
        self._ports = itertools.cycle(range(first_node_port, LAST_PORT + 1))
        self._names = itertools.count(first_identifier())
        self._host = options.host
        self._lock = threading.Lock()
        self._server = NodeServer(self._methods(), options, Application.SERVICE, master="")

    def start(self) -> str:
        return self._server.start(MASTER_PORT)

    def canary(self) -> None:
        self._server.canary("get_nodes")

    def join(self) -> None:
        """Nobody to tell: nodes and clients are given the master's address."""

    def drain(self, timeout_seconds: float) -> None:
        self._server.drain(timeout_seconds)

    def assign_port(self, application: Application) -> dict[str, object]:
        """Give a starting node of APPLICATION (service or filter) a name and the next port to try."""
        with self._lock:
            return {"name": f"{application}-{next(self._names)}", "port": self._free_port()}

    def register(self, application: Application, name: str, url: str) -> bool:
        """Add the node NAME of APPLICATION, which serves at URL."""
        XmlRpcConnection(url)  # is it one?
        now = time.monotonic()
        with self._lock:
            registry = self._registries[application]
            if not registry.find(name, now):
                check_room(registry, now)
            registry.join(name, url, now)
        log.info("%s joined at %s", name, url)
        return True

    def heartbeat(self, application: Application, name: str) -> bool:
        """Note that the node NAME lives; false if it is not known and must join again."""
        with self._lock:
            return self._registries[application].beat(name, time.monotonic())

    def leave(self, application: Application, name: str) -> bool:
        """Drop the node NAME, which stops."""
        with self._lock:
            log.info("%s left", name)
            return self._registries[application].leave(name)

    def get_node(self, application: Application) -> str:
        """Return the URL of the live node of APPLICATION whose turn it is."""
        with self._lock:
            member = self._registries[application].round_robin(time.monotonic())
        if member is None:
            raise Unavailable(f"no {application} node is live; start one with --master")
        return member.address

    def report_dead(self, application: Application, url: str) -> bool:
        """Look whether the node at URL answers, and drop it if not; true if it was dropped."""
        member = next((member for member in self._live(application) if member.address == url), None)
        if member is None or answers(url):
            return False
        with self._lock:
            log.info("%s at %s does not answer", member.name, url)
            return self._registries[application].leave(member.name)

    def get_nodes(self) -> dict[str, list[str]]:
        """Return the URLs of the live nodes of each application."""
        return {
            application.value: [member.address for member in self._live(application)]
            for application in Application
        }

    def _free_port(self) -> int:
        """Return the next port on which nobody listens here: after a restart, not all nodes are known yet."""
        live = {urlsplit(member.address).port for one in Application for member in self._alive(one)}
        for candidate in itertools.islice(self._ports, PORTS_TO_LOOK_AT):
            if candidate not in live and _is_free(self._host, candidate):
                return candidate
        raise Overloaded("no port is free for a node; start the master with other --node-ports")

    def _live(self, application: Application) -> list[Member]:
        with self._lock:
            return self._alive(application)

    def _alive(self, application: Application) -> list[Member]:
        return self._registries[application].live(time.monotonic())

    def _methods(self) -> dict[str, Method]:
        return {
            "assign_port": _method(self.assign_port, Lane.LOOP),
            "join": _method(self.register, Lane.LOOP, 2),
            "heartbeat": _method(self.heartbeat, Lane.LOOP, 1),
            "leave": _method(self.leave, Lane.LOOP, 1),
            "get_node": _method(self.get_node, Lane.LOOP),
            "report_dead": _method(self.report_dead, Lane.STORE, 1),
            "get_nodes": Method(
                lambda arguments, operation_id: self.get_nodes(), Lane.LOOP, _doc(self.get_nodes)
            ),
        }


def _method(function: Callable[..., object], lane: Lane, texts: int = 0) -> Method:
    """Return a method whose first argument is an application, followed by *texts* texts."""

    def call(arguments: Sequence[object], operation_id: str) -> object:
        if len(arguments) != 1 + texts:
            message = f"{function.__name__} takes {1 + texts} argument(s), got {len(arguments)}"
            raise InvalidRequest(Code.MISSING_FIELD, message)
        if not all(isinstance(argument, str) for argument in arguments):
            raise InvalidRequest(Code.WRONG_TYPE, f"{function.__name__} takes texts")
        if any(len(str(argument)) > MAX_URI_CHARACTERS for argument in arguments):
            raise InvalidRequest(Code.TOO_LARGE, f"a text is longer than {MAX_URI_CHARACTERS} characters")
        if arguments[0] not in list(Application):
            raise InvalidRequest(Code.MALFORMED, "the application is 'service' or 'filter'")
        return function(Application(str(arguments[0])), *arguments[1:])

    return Method(call, lane, _doc(function))


def _is_free(host: str, port: int) -> bool:
    try:
        listener(host, port).close()
    except OSError:
        return False
    return True


def _doc(function: Callable[..., object]) -> str:
    return (function.__doc__ or "").strip()


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
