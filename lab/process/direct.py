"""The nodes of a direct middleware, without its wire: service, filter, broadcaster, master, subscriptions."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import urlsplit

from lab.addresses import listener
from lab.applications.broadcast import NOTIFY_SECONDS, AllowedHosts, Broadcaster, CalledBackService, FanOut
from lab.applications.filter import build_filter, non_blocking_filter_operations
from lab.applications.service import non_blocking_service_operations, open_node_store
from lab.client.calls import Calls, DirectFilterCalls, Inbox, ServiceCalls, receive_by_callback
from lab.client.direct import TICK_ID, CallConnection, DirectClient
from lab.client.retry import MOST_OF_IT, Deadline
from lab.contract import Application, Architecture, InsultFilter, InsultService, Target, Tick
from lab.errors import Code, InvalidRequest, Overloaded
from lab.limits import DEFAULT_DEADLINE_SECONDS, MAX_URI_CHARACTERS
from lab.operations import FILTER_OPERATIONS, SERVICE_OPERATIONS, Operation
from lab.options import NodeOptions
from lab.process.master import Master
from lab.process.node import Node, main_of_roles
from lab.process.serving import LEASE_SECONDS, Executor, Method, Wire, methods_of
from lab.topology import BROADCASTER, MASTER, NODE, Role, Topology
from lab.validation import clean_deadline

BROADCAST_OPERATIONS = (
    Operation.ADD_SUBSCRIBER,
    Operation.REMOVE_SUBSCRIBER,
    Operation.START_BROADCAST,
    Operation.STOP_BROADCAST,
)
LAST_PORT = 65535
PORTS_TO_LOOK_AT = 1000
MASTER_METHODS = {"assign_port": 0, "join": 2, "heartbeat": 1, "leave": 1, "get_node": 0, "report_dead": 1}
"""What a master answers, each with the number of texts that follow the application."""


class DirectService:
    """Serves the InsultService; as one node it also broadcasts, with *master* it is one of n."""

    def __init__(self, wire: Wire, options: NodeOptions, default_port: int, master: str = "") -> None:
        at_once = non_blocking_service_operations(options.architecture)
        executors = {
            each: Executor.LOOP if each in at_once else Executor.STORE for each in SERVICE_OPERATIONS
        }
        broadcasts = options.architecture is Architecture.ONE_NODE
        self._build(wire, options, executors, default_port, master, broadcasts=broadcasts)

    def _build(
        self,
        wire: Wire,
        options: NodeOptions,
        executors: Mapping[Operation, Executor],
        default_port: int,
        master: str = "",
        *,
        broadcasts: bool,
    ) -> None:
        self._store = open_node_store(options)
        allowed = AllowedHosts(options.allow_subscribers)
        application = CalledBackService(self._store, wire.scheme, wire.split, allowed)
        methods = methods_of(application, executors, InsultService)
        self._served = wire.served(methods, options, Application.SERVICE, default_port, master)
        self._notifier = Notifier(wire)
        self._fan_out = FanOut(self._store, self._notifier.notify)
        self._broadcaster = (
            Broadcaster(self._store, self._fan_out, options.interval_seconds) if broadcasts else None
        )

    def start(self) -> str:
        address = self._served.start()
        if self._broadcaster:
            self._broadcaster.start()
        return address

    def canary(self) -> None:
        self._served.canary(Operation.GET_INSULTS, "", 1)

    def join(self) -> None:
        self._served.join()

    def drain(self, timeout_seconds: float) -> None:
        deadline = Deadline(timeout_seconds * MOST_OF_IT)
        if self._broadcaster:
            self._broadcaster.stop(deadline.left)
        self._served.drain(deadline.left)
        self._fan_out.close()
        self._notifier.close()
        self._store.close()


class DirectBroadcaster(DirectService):
    """Sends the ticks of n nodes, and answers the broadcast's operations as any of the nodes does."""

    def __init__(self, wire: Wire, options: NodeOptions, default_port: int) -> None:
        executors = dict.fromkeys(BROADCAST_OPERATIONS, Executor.STORE)
        self._probe = wire.probe
        self._build(wire, options, executors, default_port, broadcasts=True)

    def canary(self) -> None:
        self._served.canary(self._probe)
        self._store.ping()


class DirectFilter:
    """Serves the InsultFilter and works through the work list; with *master* it is one of n."""

    def __init__(self, wire: Wire, options: NodeOptions, default_port: int, master: str = "") -> None:
        self._store = open_node_store(options)
        self._parts = build_filter(options, self._store, has_work_list=True)
        application = self._parts.application
        at_once = non_blocking_filter_operations(options.architecture, application)
        executors = dict.fromkeys(FILTER_OPERATIONS, Executor.STORE)
        executors |= dict.fromkeys((Operation.FILTER, Operation.RESOLVE), Executor.WORK)
        executors |= dict.fromkeys(at_once, Executor.LOOP)
        methods = methods_of(application, executors, InsultFilter)
        self._served = wire.served(methods, options, Application.FILTER, default_port, master)

    def start(self) -> str:
        address = self._served.start()
        self._parts.start()
        return address

    def canary(self) -> None:
        self._served.canary(Operation.FILTER, "canary")

    def join(self) -> None:
        self._served.join()

    def drain(self, timeout_seconds: float) -> None:
        deadline = Deadline(timeout_seconds * MOST_OF_IT)
        self._served.drain(deadline.left)
        self._parts.stop(deadline.left)
        self._store.close()


class DirectMaster:
    """Serves the methods by which nodes join and clients are assigned a node, each in turn.

    It gives a starting node a name and the next port from *first_node_port* upwards on which nobody listens.
    """

    def __init__(self, wire: Wire, options: NodeOptions, default_port: int, first_node_port: int) -> None:
        self._master = Master(LEASE_SECONDS, wire.answers, wire.connect)
        self._ports = itertools.cycle(range(first_node_port, LAST_PORT + 1))
        self._host = options.host
        self._served = wire.served(self._methods(), options, Application.SERVICE, default_port)

    def start(self) -> str:
        return self._served.start()

    def canary(self) -> None:
        self._served.canary("get_nodes")

    def join(self) -> None:
        """Do nothing: nodes and clients are given the master's address."""

    def drain(self, timeout_seconds: float) -> None:
        self._served.drain(timeout_seconds)

    def assign_port(self, application: Application) -> dict[str, object]:
        """Give a starting node of APPLICATION (service or filter) a name and the next port to try."""
        return {"name": f"{application}-{self._master.next_identifier()}", "port": self._free_port()}

    def _free_port(self) -> int:
        """Return the next port on which nobody listens here: after a restart, not all nodes are known yet."""
        live = {urlsplit(each.address).port for one in Application for each in self._master.live(one)}
        for candidate in itertools.islice(self._ports, PORTS_TO_LOOK_AT):
            if candidate not in live and _is_free(self._host, candidate):
                return candidate
        raise Overloaded("no port is free for a node; start the master with other --node-ports")

    def _methods(self) -> dict[str, Method]:
        methods = {
            "get_nodes": Method(lambda *_: self._master.get_nodes(), Executor.LOOP, _doc(Master.get_nodes))
        }
        for name, texts in MASTER_METHODS.items():
            function = self.assign_port if name == "assign_port" else getattr(self._master, name)
            executor = Executor.STORE if name == "report_dead" else Executor.LOOP  # it probes the node
            methods[name] = Method(_checked(name, function, texts), executor, _doc(function))
        return methods


class WireClient(DirectClient):
    """Client of :attr:`application` at *target*, over :attr:`wire`."""

    wire: Wire
    application: Application

    def __init__(self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS) -> None:
        clean_deadline(deadline_seconds)  # before the target, as in all clients
        connect, answers, locator = self.wire.connect, self.wire.answers, self.wire.locator(target)
        super().__init__(target, self.application, deadline_seconds, connect, answers, locator)


class DirectServiceClient(WireClient, ServiceCalls):
    """Client of the :class:`~lab.contract.InsultService`."""

    application = Application.SERVICE

    def subscribe(self) -> Inbox:
        return receive_ticks(self.wire, type(self)(self._target, self.deadline_seconds))


class DirectFilterClient(WireClient, DirectFilterCalls):
    """Client of the :class:`~lab.contract.InsultFilter`.

    Each text is a request of its own, unless the middleware has batches.
    """

    application = Application.FILTER

    def _another(self) -> Self:
        return type(self)(self._target, self.deadline_seconds)

    def _filtered(self, texts: list[str]) -> list[str]:
        return list(map(self.filter, texts))


@dataclass(frozen=True, slots=True)
class DirectProgram:
    """Every process of a direct middleware, as one program: ``python -m MODULE ROLE``.

    *first_port* is the master's; the broadcaster, the service and the filter have the three that follow.
    """

    module: str
    wire: Wire
    first_port: int

    @property
    def topology(self) -> Topology:
        """Which processes make up the architectures."""
        node = Role(NODE, self.module, ("{application}",))
        return Topology(
            one_node=(node,),
            n_node=(
                Role(MASTER, self.module, (MASTER,)),
                Role(BROADCASTER, self.module, (BROADCASTER,), applications=(Application.SERVICE,)),
                replace(node, arguments=("{application}", "--master", "{master}")),
            ),
            one_node_entry=NODE,
            n_node_entry=MASTER,
        )

    def default_address(self, architecture: Architecture, application: Application) -> str:
        """Return where clients find a system on its usual ports: the node, or the master of n."""
        offset = 2 if application is Application.SERVICE else 3
        port = self.first_port + (offset if architecture is Architecture.ONE_NODE else 0)
        return self.wire.address("127.0.0.1", port)

    def main(self, connect: Callable[[Target], InsultService], argv: list[str] | None) -> int:
        """Run the role that *argv* names; return the exit code. *connect* is the service's client."""
        wire, first = self.wire, self.first_port
        roles: dict[str, Callable[..., Node]] = {
            MASTER: lambda options, _: DirectMaster(wire, options, first, (options.port or first) + 2),
            BROADCASTER: lambda options, _: DirectBroadcaster(wire, options, first + 1),
            Application.SERVICE: lambda options, master: DirectService(wire, options, first + 2, master),
            Application.FILTER: lambda options, master: DirectFilter(wire, options, first + 3, master),
        }
        entry = ("--master", "", "be one of n nodes of this master")
        return main_of_roles(self.module, roles, connect, self.default_address, argv, entry=entry)


def receive_ticks(wire: Wire, client: Calls, host: str = "127.0.0.1") -> Inbox:
    """Serve ``notify`` on a free port of *host*, and subscribe that through *client*.

    The inbox then owns both.
    """

    def serve(take: Callable[[int, object], None]) -> tuple[str, Callable[[], object]]:
        def notify(arguments: Sequence[object], operation_id: str) -> bool:
            if len(arguments) != 1:
                raise InvalidRequest(Code.MISSING_FIELD, "notify takes the insult")
            number = operation_id.removeprefix(TICK_ID)
            if number.isdecimal():
                take(int(number), arguments[0])
            return True

        server = wire.serve({"notify": Method(notify, Executor.LOOP, "Take a broadcast insult.")})
        return wire.address(host, server.start(host, 0)), lambda: server.drain(1.0)

    return receive_by_callback(client, serve)


class Notifier:
    """Calls subscribers back, over a connection to each that stays open."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._connections: dict[str, CallConnection] = {}

    def notify(self, uri: str, tick: Tick) -> None:
        """Tell the subscriber at *uri* of *tick*; a LabError if it does not take it in 2 s."""
        connection = self._connections.pop(uri, None) or self._wire.call_back(uri)
        try:
            connection.call("notify", [tick.insult], NOTIFY_SECONDS, f"{TICK_ID}{tick.number}")
        except BaseException:
            connection.close()
            raise
        self._connections[uri] = connection

    def close(self) -> None:
        """Close the connections."""
        while self._connections:
            self._connections.popitem()[1].close()


def _checked(
    name: str, function: Callable[..., object], texts: int
) -> Callable[[Sequence[object], str], object]:
    """Return a method whose first argument is an application, followed by *texts* texts."""

    def call(arguments: Sequence[object], operation_id: str) -> object:
        if len(arguments) != 1 + texts:
            message = f"{name} takes {1 + texts} argument(s), got {len(arguments)}"
            raise InvalidRequest(Code.MISSING_FIELD, message)
        if not all(isinstance(argument, str) for argument in arguments):
            raise InvalidRequest(Code.WRONG_TYPE, f"{name} takes texts")
        if any(len(str(argument)) > MAX_URI_CHARACTERS for argument in arguments):
            raise InvalidRequest(Code.TOO_LARGE, f"a text is longer than {MAX_URI_CHARACTERS} characters")
        if arguments[0] not in list(Application):
            raise InvalidRequest(Code.MALFORMED, "the application is 'service' or 'filter'")
        return function(Application(str(arguments[0])), *arguments[1:])

    return call


def _is_free(host: str, port: int) -> bool:
    try:
        listener(host, port).close()
    except OSError:
        return False
    return True


def _doc(function: Callable[..., object]) -> str:
    return (function.__doc__ or "").strip()
