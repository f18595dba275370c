"""What a process of a direct middleware serves: methods over a wire, at its address, known to a master."""

import errno
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, cast
from urllib.parse import urlsplit
from uuid import uuid4

from lab.addresses import host_port, reachable
from lab.applications.broadcast import SubscriberUri
from lab.background import BackgroundJob, heartbeat
from lab.client.direct import CallConnection, Locator, MasterLocator, TheNode, answers
from lab.client.retry import PROBE_SECONDS, Deadline
from lab.contract import Application, Architecture, Target
from lab.errors import Code, InternalError, InvalidRequest, LabError, Unavailable
from lab.operations import Operation, bind, perform, to_plain
from lab.options import NodeOptions
from lab.process.node import cannot_listen

log = logging.getLogger(__name__)

CANARY_SECONDS = 10.0
PORTS_TO_TRY = 100
PULSE_SECONDS = 0.5
LEASE_SECONDS = 2.0
MASTER_SECONDS = 2.0
"""Time limit of a call to the master."""
LEAVE_SECONDS = 0.5
"""Time limit of leaving the master: a node that drains has little time, and the master may be dead."""


class Executor(Enum):
    """Where a method runs, so that nothing waits behind what it does not need."""

    LOOP = "where it was received: it returns at once"
    STORE = "in a thread: it may wait for the store"
    WORK = "in the one thread that works on texts"


@dataclass(frozen=True, slots=True)
class Method:
    """A method: what it does when called, where it runs, and its help."""

    call: Callable[[Sequence[object], str], object]
    """Takes the arguments and the operation id; without an id, that is empty."""
    executor: Executor
    help: str


class Server(Protocol):
    """Answers methods."""

    def start(self, host: str, port: int) -> int:
        """Listen; return the port, a free one for 0. OSError if the address cannot be bound."""

    def drain(self, timeout_seconds: float) -> None:
        """Take no more requests, answer those taken, close every connection."""


class Served(Protocol):
    """What a process serves, from its start to its end; see :class:`~lab.process.node.Node`."""

    def start(self) -> str: ...

    def canary(self, method: str, *arguments: object) -> None: ...

    def join(self) -> None: ...

    def drain(self, timeout_seconds: float) -> None: ...


@dataclass(frozen=True)
class Wire:
    """All that is a direct middleware's own. Addresses on it are ``SCHEME://HOST:PORT``."""

    scheme: str
    serve: Callable[[Mapping[str, Method]], Server]
    connect: Callable[[str], CallConnection]
    """Raises an InvalidRequest for what is no address; opens the connection when it is first used."""
    probe: str
    """A method of every server that costs nothing."""
    default_port: int = 0

    def address(self, host: str, port: int) -> str:
        """Return the address of *port* on *host*."""
        return f"{self.scheme}://{host_port(host, port)}"

    def served(
        self,
        methods: Mapping[str, Method],
        options: NodeOptions,
        application: Application,
        default_port: int,
        others: str = "",
    ) -> Served:
        """Return what serves *methods* as a process of *application*; *others*: where others are found."""
        return ServedMethods(self, methods, options, application, default_port, others)

    def answers(self, address: str) -> bool:
        """Tell whether the server at *address* answers a probe on a new connection."""
        return answers(self.connect(address), self.probe, PROBE_SECONDS)

    def locator(self, target: Target) -> Locator:
        """Return what finds a node of *target*: its address is the node's own, or that of the master of n."""
        is_one_of_n = target.architecture is Architecture.N_NODE
        return MasterLocator(self.connect(target.address)) if is_one_of_n else TheNode(target.address)

    def report_dead(self, target: Target, application: Application, address: str) -> None:
        """Tell the master of *target* that its node at *address* is gone; the master looks for itself."""
        with closing(self.locator(target)) as locator:
            locator.report_dead(application, address, MASTER_SECONDS)

    def call_back(self, uri: str) -> CallConnection:
        """Return a connection to the subscriber at *uri*."""
        return self.connect(uri)

    def split(self, uri: str) -> SubscriberUri:
        """Take a subscriber's address apart. What follows the port is dropped: nobody calls it."""
        message = f"a subscriber is given as {self.scheme}://HOST:PORT"
        try:
            parts = urlsplit(uri)
            host, port = parts.hostname, parts.port or self.default_port
        except ValueError as error:
            raise InvalidRequest(Code.MALFORMED, message) from error
        if parts.scheme != self.scheme or not host or not port:
            raise InvalidRequest(Code.MALFORMED, message)
        return SubscriberUri(f"{self.scheme}://", host, f":{port}")


class ServedMethods:
    """Serves *methods* as a process of *application*; with *master*, on the port and by the name it gives."""

    def __init__(
        self,
        wire: Wire,
        methods: Mapping[str, Method],
        options: NodeOptions,
        application: Application,
        default_port: int,
        master: str = "",
    ) -> None:
        self._wire = wire
        self._server = wire.serve(methods)
        self._options = options
        self._application = application
        self._default_port = default_port
        self._membership = Membership(wire.connect(master), application) if master else None
        self.address = self._local_address = ""

    def start(self) -> str:
        """Listen; return the address."""
        port = self._listen_as_assigned() if self._membership else self._listen(self._default_port)
        self.address = self._wire.address(self._options.advertised_host, port)
        self._local_address = self._wire.address(reachable(self._options.host), port)
        return self.address

    def canary(self, method: str, *arguments: object) -> None:
        """Call *method* through the process's own wire."""
        with closing(self._wire.connect(self._local_address)) as connection:
            connection.call(method, arguments, CANARY_SECONDS)

    def join(self) -> None:
        """Join the master, if there is one."""
        if self._membership:
            self._membership.join(self.address)

    def drain(self, timeout_seconds: float) -> None:
        """Leave the master, answer what was taken, close."""
        deadline = Deadline(timeout_seconds)
        if self._membership:
            self._membership.leave()
        self._server.drain(deadline.left)

    def _listen(self, default_port: int) -> int:
        port = default_port if self._options.port is None else self._options.port
        try:
            return self._server.start(self._options.host, port)
        except OSError as error:
            raise cannot_listen(self._options.host, port, error) from error

    def _listen_as_assigned(self) -> int:
        for _ in range(PORTS_TO_TRY):
            port = cast(Membership, self._membership).assigned_port()
            try:
                return self._server.start(
                    self._options.host, port if self._options.port is None else self._options.port
                )
            except OSError as error:  # somebody else's port: ask for the next
                if error.errno != errno.EADDRINUSE or self._options.port is not None:
                    raise cannot_listen(self._options.host, self._options.port or port, error) from error
        message = f"none of {PORTS_TO_TRY} assigned ports is free; start the master with other --node-ports"
        raise Unavailable(message)


class Membership:
    """A node's place among the live ones: joined, renewed twice a second, given up at the end."""

    def __init__(self, master: CallConnection, application: Application) -> None:
        self._master = master
        self._application = application
        self._name = self._address = ""
        self._pulse: BackgroundJob = heartbeat("heartbeat", PULSE_SECONDS, self._beat)

    def assigned_port(self) -> int:
        """Ask the master for a name and a port that no other node was given; return the port."""
        answer = self._tell("assign_port")
        if not isinstance(answer, Mapping):
            raise InternalError("reply", f"no assignment: {type(answer).__name__}; is it a master?")
        self._name = str(answer["name"])
        return int(str(answer["port"]))

    def join(self, address: str) -> None:
        """Join, and stay: the next heartbeat joins a master that restarted."""
        self._address = address
        self._tell("join", self._name, address)
        self._pulse.start()

    def leave(self) -> None:
        """Leave at once, so that no client is sent here any more."""
        self._pulse.stop(LEAVE_SECONDS)
        with suppress(LabError):  # the master will notice the silence
            self._tell("leave", self._name, timeout_seconds=LEAVE_SECONDS)
        self._master.close()

    def _beat(self) -> None:
        if not self._tell("heartbeat", self._name):
            self._tell("join", self._name, self._address)

    def _tell(self, method: str, *arguments: str, timeout_seconds: float = MASTER_SECONDS) -> object:
        return self._master.call(method, [self._application.value, *arguments], timeout_seconds)


def methods_of(
    application: object, operations: Mapping[Operation, Executor], documented: type
) -> dict[str, Method]:
    """Return a method for each operation of *application*; its help is the contract's docstring."""
    return {
        operation.value: Method(
            _caller(application, operation), executor, _help(application, documented, operation)
        )
        for operation, executor in operations.items()
    }


def call_method(
    methods: Mapping[str, Method], name: str, arguments: Sequence[object], operation_id: str
) -> object:
    """Call the method called *name*. Any failure comes out as a LabError; a traceback stays in the log."""
    try:
        return find_method(methods, name).call(arguments, operation_id)
    except LabError:
        raise
    except Exception as error:
        error_id = uuid4().hex[:12]
        log.exception("%s failed, error id %s", name, error_id)
        raise InternalError(error_id) from error


def find_method(methods: Mapping[str, Method], name: str) -> Method:
    """Return the method called *name*, or raise UNKNOWN_OPERATION naming those there are."""
    try:
        return methods[name]
    except KeyError:
        message = f"no method {name[:60]!r} here; there are: {', '.join(methods)}"
        raise InvalidRequest(Code.UNKNOWN_OPERATION, message) from None


def _caller(application: object, operation: Operation) -> Callable[[Sequence[object], str], object]:
    def call(arguments: Sequence[object], operation_id: str) -> object:
        return to_plain(perform(application, operation, bind(operation, arguments), operation_id))

    return call


def _help(application: object, documented: type, operation: Operation) -> str:
    for source in (documented, type(application)):
        text = getattr(getattr(source, operation, None), "__doc__", None)
        if text:
            return str(text)
    raise InternalError("help", f"{operation} is documented nowhere")
