"""A whole system, here or on several machines: ``with System(spec, brokers) as system: system.filter()``."""

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from lab.brokers.server import Server
from lab.contract import Application, Architecture, InsultFilter, InsultService, Target
from lab.errors import LabError
from lab.limits import DEFAULT_DEADLINE_SECONDS
from lab.load.texts import default_insults
from lab.middleware import MIDDLEWARES
from lab.process.launcher import FREE_PORT, Handle, Launcher, LocalLauncher, ProcessSpec
from lab.process.supervisor import RestartPolicy, Supervisor
from lab.store import open_store
from lab.store.namespace import delete_namespace
from lab.topology import BROADCASTER, MASTER, NODE, Role

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BrokerUrls:
    """Where the brokers are; an empty URL means that there is none."""

    redis: str = ""
    amqp: str = ""
    descriptions: tuple[str, ...] = ()
    """A line about each: where it came from, its version, how durable it is; no passwords."""
    servers: Mapping[str, Server] = field(default_factory=dict, repr=False, compare=False)
    """The processes of those that are private, by kind."""

    @property
    def kinds(self) -> frozenset[str]:
        """Which brokers there are."""
        given = {"redis": self.redis, "rabbitmq": self.amqp}
        return frozenset(kind for kind, url in given.items() if url)

    def environment(self) -> dict[str, str]:
        """Return the variables by which processes find them; URLs hold credentials, so no options."""
        given = {"LAB_REDIS_URL": self.redis, "LAB_AMQP_URL": self.amqp}
        return {name: url for name, url in given.items() if url}


@dataclass(frozen=True, slots=True)
class SystemSpec:
    """Which system: middleware, application, architecture, number of nodes, and options for its nodes.

    An empty *namespace* means a throw-away one, deleted at the end.
    """

    middleware: str
    application: Application
    architecture: Architecture = Architecture.ONE_NODE
    nodes: int = 1
    namespace: str = ""
    node_arguments: tuple[str, ...] = ()
    interval: str = "5s"
    usual_ports: bool = False
    """Bind the ports that clients try first, not free ones."""
    through: tuple[str, ...] = ()
    """A module and its arguments; it runs the own module of each node. None: nodes run by themselves."""

    @property
    def needed_brokers(self) -> frozenset[str]:
        """The brokers this system needs: "redis", "rabbitmq", both or none."""
        return MIDDLEWARES[self.middleware].needed_brokers(self.architecture)


class System:
    """A running system; a context manager that leaves nothing behind.

    *insults* are put into the shared store before n nodes start, if it is empty; one node has its own.
    *supervised*: a process that ends unasked is started again, at the same address if others know it, and the
    master is told; *say* is told both. Off by default: a measurement must not be of two systems.
    *launcher*: where its processes run, closed with it; none: on this machine.
    """

    def __init__(
        self,
        spec: SystemSpec,
        brokers: BrokerUrls,
        insults: Sequence[str] | None = None,
        *,
        supervised: bool = False,
        back_off: RestartPolicy | None = None,
        say: Callable[[str], None] = log.info,
        launcher: Launcher | None = None,
    ) -> None:
        self.spec = spec
        self.middleware = MIDDLEWARES[spec.middleware]
        self.namespace = spec.namespace or f"lab-{secrets.token_hex(4)}"
        self.handles: dict[str, list[Handle]] = {}
        self.urls = brokers
        self._insults = insults
        self.launcher: Launcher = launcher or LocalLauncher()
        self.supervisor: Supervisor | None = None
        self._supervised = supervised
        self._back_off = back_off
        self._say = say

    def __enter__(self) -> Self:
        for _ in self.starting():
            pass
        return self

    def starting(self) -> Iterator[str]:
        """Start it, role by role; yield the name of each when its processes begin, before they are ready.

        So systems can start side by side, all from one thread. If it fails, it is closed.
        """
        try:
            if self._supervised:
                self.supervisor = Supervisor(
                    self.launcher, gone=self._report_dead, say=self._say, back_off=self._back_off
                )
            self._seed()
            for role in self._roles():
                spawned = self._spawned(role, self.spec.nodes if role.name == NODE else 1)
                yield role.name
                self._join(role, spawned)
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def nodes(self) -> list[Handle]:
        """The nodes, in the order in which they were started; killed ones too, until they are replaced."""
        return self.handles.get(NODE, [])

    @property
    def target(self) -> Target:
        """Where clients find the system."""
        entry = self.middleware.topology().entry(self.spec.architecture)
        address = self.handles[entry][0].address if entry else self._broker_url()
        return Target(address, self.spec.architecture, self.namespace)

    def service(self, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS) -> InsultService:
        """Connect a new client of the InsultService."""
        return self.middleware.service_client(self.target, deadline_seconds)

    def filter(self, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS) -> InsultFilter:
        """Connect a new client of the InsultFilter."""
        return self.middleware.filter_client(self.target, deadline_seconds)

    def add_node(self) -> Handle:
        """Start one more node and wait until it is ready."""
        return self.start(next(role for role in self._roles() if role.name == NODE))[0]

    def start(self, role: Role, count: int = 1) -> list[Handle]:
        """Start processes of *role*, side by side, and wait until they are ready."""
        return self._join(role, self._spawned(role, count))

    def _spawned(self, role: Role, count: int) -> list[Handle]:
        return [self.launcher.spawn(self._process(role)) for _ in range(count)]

    def _join(self, role: Role, started: list[Handle]) -> list[Handle]:
        """Wait until the processes of *role* are ready."""
        for handle in started:
            self.launcher.wait_ready(handle)
        self.handles[role.name] = [*self.handles.get(role.name, []), *started]
        if self.supervisor:
            for handle in started:
                self.supervisor.watch(handle, self._next(handle), self._moved)
        return started

    def close(self) -> None:
        """Stop every process; delete a throw-away namespace."""
        (self.supervisor or self.launcher).close()
        if not self.spec.namespace:
            self.delete_namespace()

    def delete_namespace(self) -> None:
        """Delete every key, queue and exchange of the namespace."""
        if "redis" in self.spec.needed_brokers:
            delete_namespace(self.urls.redis, self.namespace)
        if "rabbitmq" in self.spec.needed_brokers:
            self.middleware.delete_queues(self.urls.amqp, self.namespace)

    def _roles(self) -> tuple[Role, ...]:
        return self.middleware.topology().roles(self.spec.architecture, self.spec.application)

    def _process(self, role: Role) -> ProcessSpec:
        addresses = {name: handles[0].address for name, handles in self.handles.items()}
        names = {**addresses, "application": self.spec.application}
        arguments = [argument.format_map(names) for argument in role.arguments]
        arguments += ["--namespace", self.namespace, "--architecture", self.spec.architecture]
        arguments += self._role_arguments(role)
        module = role.module.format(application=self.spec.application)
        if self.spec.through and role.name == NODE:
            module, *before = (*self.spec.through, module)
            arguments = [*before, *arguments]
        return ProcessSpec(
            name=role.name, module=module, arguments=tuple(arguments), environment=self.urls.environment()
        )

    def _next(self, handle: Handle) -> ProcessSpec:
        """Return what takes the place of *handle*: the same, at the same address if others know that."""
        port = handle.address.rpartition(":")[2]
        if not port.isdecimal() or self._is_one_of_n(handle.spec.name):
            return handle.spec
        return replace(handle.spec, arguments=(*handle.spec.arguments, "--port", port))

    def _moved(self, old: Handle, new: Handle) -> None:
        handles = self.handles[new.spec.name]
        self.handles[new.spec.name] = [new if handle is old else handle for handle in handles]

    def _report_dead(self, handle: Handle) -> None:
        """Tell the master, if there is one, that a node is gone. Otherwise the master notices its silence."""
        if MASTER in self.handles and self._is_one_of_n(handle.spec.name):
            with suppress(LabError):  # the master is away too
                self.middleware.report_dead(self.target, self.spec.application, handle.address)

    def _is_one_of_n(self, role_name: str) -> bool:
        return role_name == NODE and self.spec.architecture is Architecture.N_NODE

    def _role_arguments(self, role: Role) -> list[str]:
        # Not 0: a port of that range would be given to a client while its server is being started again.
        port = [] if self.spec.usual_ports else ["--port", FREE_PORT]
        if role.name == BROADCASTER:
            return [*port, "--interval", self.spec.interval]
        if role.name != NODE:
            return port
        arguments = list(self.spec.node_arguments)
        if self.spec.architecture is Architecture.ONE_NODE:
            arguments += port
        if self.spec.application is Application.SERVICE:
            arguments += ["--interval", self.spec.interval]
        return arguments

    def _broker_url(self) -> str:
        return self.urls.redis if self.middleware.broker == "redis" else self.urls.amqp

    def _seed(self) -> None:
        if (
            self.spec.architecture is not Architecture.N_NODE
            or self.spec.application is not Application.FILTER
        ):
            return
        store = open_store(self.urls.redis, self.namespace)
        if not store.count_insults():
            store.add_insults(self._insults if self._insults is not None else default_insults())
        store.close()
