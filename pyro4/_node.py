"""What the nodes of both applications share: a daemon, a name, a canary, a clean end."""

from collections.abc import Collection

from lab.client.deadline import Deadline
from lab.contract import Application, Architecture
from lab.operations import Operation
from lab.options import NodeOptions

from ._connection import PyroConnection
from ._daemon import InFlight, ServedObjects, exposed
from ._membership import Membership

CANARY_SECONDS = 10.0
CLOSE_SECONDS = 1.0


class NodeServer:
    """Serves *application_object* as a node of *application*, known to the name server at *name_server*."""

    def __init__(
        self,
        application_object: object,
        operations: tuple[Operation, ...],
        instant: Collection[Operation],
        documented: type,
        options: NodeOptions,
        application: Application,
        name_server: str,
        server_type: str,
    ) -> None:
        self._in_flight = InFlight()
        self._object = exposed(application_object, operations, instant, documented, self._in_flight)
        self._options = options
        self._server_type = server_type
        is_one_of_n = options.architecture is Architecture.N_NODE
        self._membership = Membership(name_server, application, has_master=is_one_of_n)
        self._served: ServedObjects | None = None
        self.uri = ""

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
        self.uri = self._served.serve({name: self._object})[name]
        return self.uri

    def canary(self, method: str, *arguments: object) -> None:
        """Call *method* through the node's own wire."""
        connection = PyroConnection(self.uri)
        connection.call(method, arguments, CANARY_SECONDS)
        connection.close()

    def join(self) -> None:
        """Be found from now on."""
        self._membership.join(self.uri)

    def drain(self, timeout_seconds: float) -> None:
        """Be found no more, finish the calls under way, close."""
        deadline = Deadline(timeout_seconds)
        self._membership.leave()
        self._in_flight.finish(deadline.left - CLOSE_SECONDS)
        if self._served:
            self._served.close(CLOSE_SECONDS)
