"""What the nodes of both applications share: a server on its port, a canary, a place at the master."""

import errno
from collections.abc import Callable, Mapping

from lab.applications.service import perform
from lab.client.deadline import Deadline
from lab.contract import Application
from lab.errors import InternalError, Unavailable
from lab.operations import Operation, bind
from lab.options import NodeOptions
from lab.plain import to_plain
from lab.process.addresses import host_port, reachable
from lab.process.node import cannot_listen

from ._connection import XmlRpcConnection
from ._membership import Assignment, MasterClient, Membership
from ._methods import Lane, Method, Methods
from ._server import XmlRpcServer

CANARY_SECONDS = 10.0
PORTS_TO_TRY = 100


class NodeServer:
    """Serves *methods* as a node of *application*; with *master*, on the port and by the name it gives."""

    def __init__(
        self, methods: Mapping[str, Method], options: NodeOptions, application: Application, master: str
    ) -> None:
        self._server = XmlRpcServer(Methods(methods))
        self._options = options
        self._application = application
        self._master = master
        self._membership: Membership | None = None
        self.url = ""
        self._local_url = ""

    def start(self, default_port: int) -> str:
        """Listen; return the URL."""
        port = self._options.port if self._options.port is not None else default_port
        name = ""
        if self._master:
            name, port = self._start_assigned()
        else:
            port = self._listen(port)
        self.url = f"http://{host_port(self._options.advertised_host, port)}"
        self._local_url = f"http://{host_port(reachable(self._options.host), port)}"
        if self._master:
            self._membership = Membership(self._master, self._application, name, self.url)
        return self.url

    def canary(self, method: str, *arguments: object) -> None:
        """Call *method* through the node's own wire."""
        connection = XmlRpcConnection(self._local_url)
        connection.call(method, arguments, CANARY_SECONDS)
        connection.close()

    def join(self) -> None:
        """Join the master, if there is one."""
        if self._membership:
            self._membership.join()

    def drain(self, timeout_seconds: float) -> None:
        """Leave the master, answer what was taken, close."""
        deadline = Deadline(timeout_seconds)
        if self._membership:
            self._membership.leave()
        self._server.drain(deadline.left)

    def _listen(self, port: int) -> int:
        try:
            return self._server.start(self._options.host, port)
        except OSError as error:
            raise cannot_listen(self._options.host, port, error) from error

    def _start_assigned(self) -> Assignment:
        master = MasterClient(self._master)
        for _ in range(PORTS_TO_TRY):
            name, port = master.assign_port(self._application)
            wanted = port if self._options.port is None else self._options.port
            try:
                return Assignment(name, self._server.start(self._options.host, wanted))
            except OSError as error:  # somebody else's port: ask for the next
                if error.errno != errno.EADDRINUSE or self._options.port is not None:
                    raise cannot_listen(self._options.host, wanted, error) from error
        raise Unavailable(
            f"none of {PORTS_TO_TRY} assigned ports is free; start the master with other --node-ports"
        )


def methods_of(
    application: object, operations: Mapping[Operation, Lane], documented: type
) -> dict[str, Method]:
    """Return a method for each operation of *application*; its help is the contract's docstring."""
    return {
        operation.value: Method(
            _caller(application, operation), lane, _help(application, documented, operation)
        )
        for operation, lane in operations.items()
    }


def _caller(application: object, operation: Operation) -> Callable[..., object]:
    def call(arguments: tuple[object, ...], operation_id: str) -> object:
        return to_plain(perform(application, operation, bind(operation, arguments), operation_id))

    return call


def _help(application: object, documented: type, operation: Operation) -> str:
    for source in (documented, type(application)):
        text = getattr(getattr(source, operation, None), "__doc__", None)
        if text:
            return str(text)
    raise InternalError("help", f"{operation} is documented nowhere")
