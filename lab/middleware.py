"""What a middleware declares of itself, and the list of middlewares: the one place that names their packages.

The lab imports none of them: it loads their modules by name, at run time.
"""

import argparse
import importlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any, cast

from lab.contract import Application, Architecture, InsultFilter, InsultService, Target
from lab.limits import DEFAULT_DEADLINE_SECONDS
from lab.settings import SettingsError, settings
from lab.topology import Topology

STOCK, TUNED = "stock", "tuned"
"""The variants: as the library's documentation has it, and ours on the same wire."""


class Promise(StrEnum):
    """What a variant may promise beyond the operations themselves."""

    EFFECT_ONCE = "a repeated request has its effect once"
    SURVIVES_KILLED_NODE = "an acknowledged request survives the death of its node"
    FAIL_OVER = "a client goes on at another node when its node dies"
    DEAD_LETTERS = "a text that kills its node is put aside"
    BOUNDED_INPUT = "bad input gets one documented code, and costs little"
    DRAINS = "a node that is stopped finishes what it took"
    SILENT_CLIENTS_HARMLESS = "silent clients keep nobody else out"
    MANY_CLIENTS = "more than 40 clients are served at once"
    SUBSCRIBERS_CATCH_UP = "a subscriber that was away gets the ticks, or the numbers that it missed"
    ANY_TEXT = "every Unicode text comes back unchanged"
    OWN_ANSWERS = "after a fork or an interrupt a client gets the answers to its own calls, or refuses"
    ONE_OWNER = "a role that exists once cannot be started twice"


@dataclass(frozen=True, slots=True)
class Middleware:
    """One variant of a middleware and what it can do; the contract tests branch on these, never on names."""

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
    variant: str = TUNED
    not_promised: frozenset[Promise] = frozenset()
    """The tuned variants promise all."""

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
        name = "STOCK_TOPOLOGY" if self.variant == STOCK else "TOPOLOGY"
        return cast(Topology, getattr(self._module("topology"), name))

    def default_address(self, architecture: Architecture, application: Application) -> str:
        """Return where clients find a system that is on its usual ports."""
        find = self._module("topology").default_address
        return cast(str, find(architecture, application))

    def service_client(
        self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS
    ) -> InsultService:
        """Connect a client to the InsultService at *target*."""
        make = self._module(STOCK if self.variant == STOCK else "insult_service").InsultServiceClient
        return cast(Callable[[Target, float], InsultService], make)(target, deadline_seconds)

    def filter_client(
        self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS
    ) -> InsultFilter:
        """Connect a client to the InsultFilter at *target*."""
        make = self._module(STOCK if self.variant == STOCK else "insult_filter").InsultFilterClient
        return cast(Callable[[Target, float], InsultFilter], make)(target, deadline_seconds)

    def report_dead(self, target: Target, application: Application, address: str) -> None:
        """Tell the master of *target* that its node at *address* is gone; it looks for itself.

        A stock master takes no reports: it drops a node that is silent.
        """
        if self.variant == STOCK:
            return
        self._module("insult_service").InsultServiceClient.wire.report_dead(target, application, address)

    def delete_queues(self, url: str, namespace: str) -> None:
        """Delete the queues and exchanges of *namespace* (a middleware with a broker of queues)."""
        self._module("tuned.wire").delete_namespace(url, namespace)

    def promises(self, promise: Promise) -> bool:
        """Tell whether this variant promises *promise*."""
        return promise not in self.not_promised

    def module(self, name: str) -> str:
        """Return the dotted name of its module *name*; of a middleware in one file, that file."""
        package = self.package or self.name.partition(":")[0]
        is_package = hasattr(importlib.import_module(package), "__path__")
        return f"{package}.{name}" if is_package else package

    def program(self, name: str) -> tuple[str, ...]:
        """Return what follows ``python -m`` to run its program *name*; in one file, that is a role."""
        if self.variant == STOCK:
            return self.module(STOCK), name
        module = self.module(name)
        return (module,) if module.endswith(f".{name}") else (module, name)

    def _module(self, name: str) -> Any:
        return importlib.import_module(self.module(name))


_NEITHER = frozenset(Promise)
"""What no stock variant promises, but for what its library or its broker gives."""
_NO_THREAD_EACH = {Promise.SILENT_CLIENTS_HARMLESS, Promise.MANY_CLIENTS}
_BROKER_KEEPS = {Promise.SURVIVES_KILLED_NODE, Promise.FAIL_OVER, Promise.ANY_TEXT}
STOCK_LACKS = {
    "xmlrpc": _NEITHER - {Promise.MANY_CLIENTS},
    "pyro4": _NEITHER - {Promise.ANY_TEXT},
    "redis_impl": _NEITHER - _NO_THREAD_EACH - {Promise.ANY_TEXT},
    "rabbitmq": _NEITHER - _NO_THREAD_EACH - _BROKER_KEEPS,
}
ALSO_CALLED = {"redis": "redis_impl"}


class _Middlewares(dict[str, Middleware]):
    """The usual variant of each; ``NAME:stock`` is found, too, and the short names."""

    def __missing__(self, name: str) -> Middleware:
        package, separator, variant = ALSO_CALLED.get(name, name).partition(":")
        found = self.get(ALSO_CALLED.get(package, package))
        if found is None or variant not in ("", TUNED, STOCK) or (separator and not variant):
            raise KeyError(name)
        if variant != STOCK:
            return found
        label, lacks = f"{found.label} stock", STOCK_LACKS.get(found.name, frozenset())
        return replace(found, name=f"{found.name}:{STOCK}", label=label, variant=STOCK, not_promised=lacks)


def middleware_name(text: str) -> str:
    """Return the name of the middleware and variant that *text* names, for options of commands."""
    known = _known()
    try:
        return known[text.strip()].name
    except KeyError as error:
        names = ", ".join(known)
        message = f"no middleware {text!r}; there are {names}, each also with :{STOCK}"
        raise argparse.ArgumentTypeError(message) from error


def _all() -> Iterator[Middleware]:
    yield Middleware("xmlrpc", "XML-RPC", is_direct=True)
    yield Middleware("pyro4", "Pyro4", is_direct=True)
    yield Middleware("redis_impl", "Redis", is_direct=False, broker="redis")
    yield Middleware("rabbitmq", "RabbitMQ", is_direct=False, broker="rabbitmq")
    with suppress(SettingsError):  # every command, process and test reads the settings: there it is said
        for package in settings().packages:
            yield importlib.import_module(package).MIDDLEWARE


MIDDLEWARES: _Middlewares
"""By name. One more: a line in :func:`_all`, or its package in ``LAB_MIDDLEWARES``."""
VARIANTS: tuple[str, ...]
"""The names of all variants, the usual ones first."""
VARIANTS_HELP: str


def __getattr__(name: str) -> object:
    """Make the three at first use: a package of LAB_MIDDLEWARES imports this module, then declares itself."""
    if name == "MIDDLEWARES":
        return _known()
    if name == "VARIANTS":
        return (*_known(), *(f"{usual}:{STOCK}" for usual in STOCK_LACKS))
    if name == "VARIANTS_HELP":
        return f"{', '.join(_known())}; with :{STOCK} as its library has it"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _known() -> _Middlewares:
    return _Middlewares({middleware.name: middleware for middleware in _all()})
