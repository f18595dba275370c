"""What a middleware declares of itself, and how the lab reaches its package: by name, at run time."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from lab.contract import Application, Architecture, InsultFilter, InsultService, Target
from lab.limits import DEFAULT_DEADLINE_SECONDS
from lab.topology import Topology


@dataclass(frozen=True, slots=True)
class Middleware:
    """One middleware package and what it can do; the contract tests branch on these, never on names."""

    name: str
    """What commands call it."""
    label: str
    """What plots and reports call it."""
    is_direct: bool
    """The client talks to a node; both must be up, and calls block."""
    broker: str = ""
    """What carries the messages: "redis", "rabbitmq" or nothing."""
    package: str = ""
    """Where its modules are; empty: in the package of its name."""

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
        return cast(Topology, self._module("topology").TOPOLOGY)

    def default_address(self, architecture: Architecture, application: Application) -> str:
        """Return where clients find a system that is on its usual ports."""
        find = self._module("topology").default_address
        return cast(str, find(architecture, application))

    def service_client(
        self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS
    ) -> InsultService:
        """Connect a client to the InsultService at *target*."""
        make = self._module("insult_service").InsultServiceClient
        return cast(Callable[[Target, float], InsultService], make)(target, deadline_seconds)

    def filter_client(
        self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS
    ) -> InsultFilter:
        """Connect a client to the InsultFilter at *target*."""
        make = self._module("insult_filter").InsultFilterClient
        return cast(Callable[[Target, float], InsultFilter], make)(target, deadline_seconds)

    def report_dead(self, target: Target, application: Application, address: str) -> None:
        """Tell the master of *target* that its node at *address* is gone; it looks for itself."""
        self._part("client").report_dead(target.address, application, address)

    def delete_queues(self, url: str, namespace: str) -> None:
        """Delete the queues and exchanges of *namespace* (a middleware with a broker of queues)."""
        self._module("tuned.queues").delete_namespace(url, namespace)

    def _part(self, name: str) -> Any:
        """Load *name* of what the tuned programs are made of; of a package with one file, that file."""
        try:
            return self._module(f"tuned.{name}")
        except ModuleNotFoundError:
            return self._module("transport")

    def module(self, name: str) -> str:
        """Return the dotted name of its module *name*, to be run with ``-m``."""
        return f"{self.package or self.name}.{name}"

    def _module(self, name: str) -> Any:
        return importlib.import_module(self.module(name))
