"""What the nodes of both applications share: a server on its port, a canary, a heartbeat to the master."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from lab.applications.service import perform
from lab.client.retry import Deadline
from lab.contract import Application
from lab.errors import LabError
from lab.operations import Operation, bind, to_plain
from lab.options import NodeOptions
from lab.process.background import BackgroundJob, heartbeat

from .transport import Connection, Server

PULSE_SECONDS = 0.5
LEASE_SECONDS = 2.0
CALL_SECONDS = 2.0


class NodeServer:
    """Serves *operations* of *application*; with *master*, as one of n nodes, on a free port."""

    def __init__(
        self,
        application: object,
        operations: Sequence[Operation],
        options: NodeOptions,
        kind: Application,
        master: str,
    ) -> None:
        self._server = Server({operation: _method(application, operation) for operation in operations})
        self._options = options
        self._kind = kind
        self._master = Connection(master) if master else None
        self._pulse: BackgroundJob = heartbeat("heartbeat", PULSE_SECONDS, self._beat)
        self.address = ""

    def start(self, default_port: int) -> str:
        """Listen; return the address."""
        usual = 0 if self._master else default_port
        port = usual if self._options.port is None else self._options.port
        self.address = self._server.start(self._options.host, port, self._options.advertised_host)
        return self.address

    def canary(self, operation: Operation, *arguments: object) -> None:
        """Perform *operation* through the node's own wire."""
        connection = Connection(self.address)
        connection.call(operation, arguments, 10.0)
        connection.close()

    def join(self) -> None:
        """Join the master, if there is one, and stay: a master that restarted is told again."""
        if self._master:
            self._beat()
            self._pulse.start()

    def drain(self, timeout_seconds: float) -> None:
        """Leave the master, answer what was taken, close."""
        deadline = Deadline(timeout_seconds)
        self._pulse.stop(0.5)
        with suppress(LabError):  # the master will notice the silence
            self._tell("leave")
        self._server.drain(deadline.left)

    def _beat(self) -> None:
        self._tell("beat")

    def _tell(self, operation: str) -> None:
        if self._master:
            self._master.call(operation, [self._kind, self.address], CALL_SECONDS)


def _method(application: object, operation: Operation) -> Callable[[Sequence[object], str], object]:
    def call(arguments: Sequence[object], operation_id: str) -> object:
        named: Mapping[str, object] = bind(operation, arguments)
        return to_plain(perform(application, operation, named, operation_id))

    return call
