"""What the nodes of both applications share: a daemon, a name, a place at the master, a clean end.

Replaces nothing of Pyro4.
"""

import argparse
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass

from lab.addresses import host_port
from lab.applications.broadcast import SubscriberUri
from lab.background import BackgroundJob, heartbeat
from lab.client.direct import Locator
from lab.client.retry import Deadline
from lab.contract import Application, Architecture, Target
from lab.errors import Code, InvalidRequest, LabError
from lab.options import NodeOptions
from lab.process.serving import Method, Served, Wire

from ..topology import NAME_SERVER_PORT
from .client import NameLocator
from .connection import FOREIGN_SERIALIZER, PyroConnection, answers
from .methods import InFlight, exposed
from .name_server import MASTER, NAMES_SECONDS, Names
from .server import SERVER_TYPES, ServedObjects

SUBSCRIBER = "subscriber"
"""The name of a subscriber's object."""
_SUBSCRIBER_URI = re.compile(r"PYRO:([^@\s]+)@(\[[0-9a-f:.]+\]|[\w.-]+):(\d{1,5})", re.ASCII | re.IGNORECASE)
CANARY_SECONDS = 10.0
CLOSE_SECONDS = 1.0
PULSE_SECONDS = 3.0
LEASE_SECONDS = 10.0
LOOK_SECONDS = 0.25
"""How soon a node notices that the name server or the master is gone; they have no work with it."""
LEAVE_SECONDS = 0.5
"""Time limit of leaving each of them: a node that drains has little time, and they may be dead."""


class ObjectServer:
    """Serves *methods* as one object: a subscriber."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._object = exposed(methods, InFlight())
        self._served: ServedObjects | None = None

    def start(self, host: str, port: int) -> int:
        self._served = ServedObjects(host, port, host)
        self._served.serve({SUBSCRIBER: self._object})
        return int(self._served.address.rpartition(":")[2])

    def drain(self, timeout_seconds: float) -> None:
        if self._served:
            self._served.close(timeout_seconds)


class NodeServer:
    """Serves *methods* as a node of *application*, known to the name server at *name_server*."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        options: NodeOptions,
        application: Application,
        name_server: str,
        server_type: str,
    ) -> None:
        self._in_flight = InFlight()
        self._object = exposed(methods, self._in_flight)
        self._options = options
        self._server_type = server_type
        is_one_of_n = options.architecture is Architecture.N_NODE
        self._membership = Membership(name_server, application, has_master=is_one_of_n)
        self._served: ServedObjects | None = None
        self._uri = ""

    def start(self) -> str:
        """Take a name and serve under it; return the URI."""
        name = self._membership.take_name()
        self._served = ServedObjects(
            self._options.host,
            self._options.port or 0,
            self._options.advertised_host,
            self._in_flight,
            self._server_type,
        )
        self._uri = self._served.serve({name: self._object})[name]
        return self._uri

    def canary(self, method: str, *arguments: object) -> None:
        """Call *method* through the node's own wire."""
        with closing(PyroConnection(self._uri)) as connection:
            connection.call(method, arguments, CANARY_SECONDS)

    def join(self) -> None:
        """Register the name, so that clients find this node."""
        self._membership.join(self._uri)

    def drain(self, timeout_seconds: float) -> None:
        """Give up the name, finish the calls under way, close."""
        deadline = Deadline(timeout_seconds)
        self._membership.leave()
        self._in_flight.finish(deadline.left - CLOSE_SECONDS)
        if self._served:
            self._served.close(CLOSE_SECONDS)
        self._membership.names.check_kept()


@dataclass(frozen=True)
class PyroWire(Wire):
    """Pyro4's part of a direct middleware. A subscriber's address is ``PYRO:OBJECT@HOST:PORT``."""

    server_type: str = SERVER_TYPES[0]

    def address(self, host: str, port: int) -> str:
        return f"PYRO:{SUBSCRIBER}@{host_port(host, port)}"

    def served(
        self,
        methods: Mapping[str, Method],
        options: NodeOptions,
        application: Application,
        default_port: int,
        others: str = "",
    ) -> Served:
        return NodeServer(methods, options, application, others, self.server_type)

    def answers(self, address: str) -> bool:
        return answers(address)

    def locator(self, target: Target) -> Locator:
        return NameLocator(target)

    def call_back(self, uri: str) -> PyroConnection:
        return PyroConnection(uri, FOREIGN_SERIALIZER)

    def split(self, uri: str) -> SubscriberUri:
        found = _SUBSCRIBER_URI.fullmatch(uri)  # a socket in the file system has no host
        if not found:
            raise InvalidRequest(Code.MALFORMED, "a subscriber is given as PYRO:OBJECT@HOST:PORT")
        return SubscriberUri(f"PYRO:{found[1]}@", found[2].strip("[]"), f":{found[3]}")


def wire_of(server_type: str = SERVER_TYPES[0]) -> PyroWire:
    """Return the wire of a node whose daemon is of *server_type*."""

    return PyroWire("pyro", ObjectServer, PyroConnection, probe="", server_type=server_type)


class Membership:
    """Registers *name*; as one of n also at the master. Both are told again with every heartbeat, and as soon
    as the connection to one of them is lost: one that restarted learns of its nodes within a second."""

    def __init__(self, name_server: str, application: Application, *, has_master: bool) -> None:
        self.names = Names(name_server)
        self._application = application
        self._master: PyroConnection | None = None
        self._has_master = has_master
        self._lock = threading.Lock()
        self._pulse: BackgroundJob = heartbeat("heartbeat", LOOK_SECONDS, self._look)
        self._next_beat = 0.0
        self.name = ""
        self._uri = ""
        self._identifier = 0

    def take_name(self) -> str:
        """Return the node's name: the only one, or ``insult<ID>.service`` with an ID from the master."""
        kind = "insult" if self._application is Application.SERVICE else "filter"
        if self._has_master:
            self._identifier = int(str(self._call_master("next_identifier")))
            self.name = f"{kind}{self._identifier}.service"
        else:
            self.name = f"{kind}.service"
            self.names.stands_for(self.name, "")
        return self.name

    def join(self, uri: str) -> None:
        """Register, and stay registered."""
        self._uri = uri
        self._beat(self.names.claim)
        self._pulse.start()

    def leave(self) -> None:
        """Give up the name and the place at once."""
        self._pulse.stop(LEAVE_SECONDS)
        self.names.release(self.name, self._uri, LEAVE_SECONDS)
        if self._master:
            with suppress(LabError):
                self._master.call("leave_slave", (self.name,), LEAVE_SECONDS)
        self.names.close()
        if self._master:
            self._master.close()

    def _look(self) -> None:
        is_known = not (self.names.is_lost() or (self._has_master and self._is_master_lost()))
        if not is_known or time.monotonic() >= self._next_beat:
            self._beat(self.names.keep)
            self._next_beat = time.monotonic() + PULSE_SECONDS

    def _is_master_lost(self) -> bool:
        return self._master is None or self._master.is_lost()

    def _beat(self, claim: Callable[[str, str], None]) -> None:
        with self._lock:
            try:
                claim(self.name, self._uri)
            finally:  # the master must not think that we are dead because the name server is
                if self._has_master:
                    self._call_master("heartbeat_slave", self._heartbeat())

    def _heartbeat(self) -> str:
        """Return the heartbeat; its pulse is for information, because the master uses its own clock."""
        return json.dumps(
            {
                "id": self._identifier,
                "name": self.name,
                "uri": self._uri,
                "application": self._application,
                "pulse": time.time(),
            }
        )

    def _call_master(self, method: str, *arguments: object) -> object:
        if self._master is None:
            self._master = PyroConnection(self.names.lookup(MASTER))
        try:
            return self._master.call(method, arguments, NAMES_SECONDS)
        except LabError:
            self._master.close()
            self._master = None  # it may have restarted elsewhere: look it up again
            raise


def add_name_server_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--name-server``."""
    parser.add_argument(
        "--name-server",
        default=f"127.0.0.1:{NAME_SERVER_PORT}",
        metavar="HOST:PORT",
        help="where the name server is (python -m pyro4.name_server)",
    )


def add_server_type_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--server-type``."""
    parser.add_argument(
        "--server-type",
        choices=SERVER_TYPES,
        default=SERVER_TYPES[0],
        help="thread: one for each client; multiplex: one for all, so a silent client stops the others",
    )
