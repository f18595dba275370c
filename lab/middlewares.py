"""The list of middlewares, the one place that names them. One more: a line here or in ``LAB_MIDDLEWARES``."""

import argparse
import importlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from lab.middleware import STOCK, TUNED, Promise
from lab.middleware import Middleware as Middleware
from lab.settings import SettingsError, settings

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
    try:
        return MIDDLEWARES[text.strip()].name
    except KeyError as error:
        known = ", ".join(MIDDLEWARES)
        message = f"no middleware {text!r}; there are {known}, each also with :{STOCK}"
        raise argparse.ArgumentTypeError(message) from error


def _all() -> Iterator[Middleware]:
    yield Middleware("xmlrpc", "XML-RPC", is_direct=True)
    yield Middleware("pyro4", "Pyro4", is_direct=True)
    yield Middleware("redis_impl", "Redis", is_direct=False, broker="redis")
    yield Middleware("rabbitmq", "RabbitMQ", is_direct=False, broker="rabbitmq")
    with suppress(SettingsError):  # every command, process and test reads the settings: there it is said
        for package in settings().packages:
            yield importlib.import_module(package).MIDDLEWARE


MIDDLEWARES = _Middlewares({middleware.name: middleware for middleware in _all()})
VARIANTS = (*MIDDLEWARES, *(f"{name}:{STOCK}" for name in STOCK_LACKS))
"""The names of all variants, the usual ones first."""
VARIANTS_HELP = f"{', '.join(MIDDLEWARES)}; with :{STOCK} as its library has it"
