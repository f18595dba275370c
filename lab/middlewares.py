"""The list of middlewares: the one place that names them. A package is loaded by name, at run time."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from lab.contract import Application, Architecture, InsultFilter, InsultService, Target
from lab.limits import DEFAULT_DEADLINE_SECONDS
from lab.topology import Topology


@dataclass(frozen=True, slots=True)
class Middleware:
    """One middleware package and what it can do; the contract tests branch on these, never on names."""

    name: str
    label: str
    is_direct: bool
    """The client talks to a node; both must be up, and calls block."""
    broker: str = ""
    """What carries the messages: "redis", "rabbitmq" or nothing."""

    @property
    def waits_for_nodes(self) -> bool:
        """Tell whether what is sent while no node is up is served when one starts."""
        return bool(self.broker)

    def needed_brokers(self, architecture: Architecture) -> frozenset[str]:
        """Return the brokers a system needs: its own, and Redis as the store of n nodes."""
        shared = {"redis"} if architecture is Architecture.N_NODE else set()
        return frozenset(shared | ({self.broker} if self.broker else set()))

    def topology(self) -> Topology:
        """Return which processes make up the architectures."""
        return cast(Topology, importlib.import_module(f"{self.name}.topology").TOPOLOGY)

    def default_address(self, architecture: Architecture, application: Application) -> str:
        """Return where clients find a system that is on its usual ports."""
        find = importlib.import_module(f"{self.name}.topology").default_address
        return cast(str, find(architecture, application))

    def service_client(
        self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS
    ) -> InsultService:
        """Connect a client to the InsultService at *target*."""
        make = importlib.import_module(module(self.name, Application.SERVICE)).InsultServiceClient
        return cast(Callable[[Target, float], InsultService], make)(target, deadline_seconds)

    def filter_client(
        self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS
    ) -> InsultFilter:
        """Connect a client to the InsultFilter at *target*."""
        make = importlib.import_module(module(self.name, Application.FILTER)).InsultFilterClient
        return cast(Callable[[Target, float], InsultFilter], make)(target, deadline_seconds)

    def report_dead(self, target: Target, application: Application, address: str) -> None:
        """Tell the master of *target* that its node at *address* is gone; it looks for itself."""
        importlib.import_module(f"{self.name}.transport").report_dead(target.address, application, address)

    def delete_queues(self, url: str, namespace: str) -> None:
        """Delete the queues and exchanges of *namespace* (a middleware with a broker of queues)."""
        importlib.import_module(f"{self.name}.transport").delete_namespace(url, namespace)


def module(middleware: str, application: Application) -> str:
    """Return the module that serves *application* over *middleware*."""
    return f"{middleware}.insult_{application}"


MIDDLEWARES = {
    middleware.name: middleware
    for middleware in (
        Middleware("xmlrpc", "XML-RPC", is_direct=True),
        Middleware("pyro4", "Pyro4", is_direct=True),
        Middleware("redis_impl", "Redis", is_direct=False, broker="redis"),
        Middleware("rabbitmq", "RabbitMQ", is_direct=False, broker="rabbitmq"),
    )
}
