"""The list of middlewares, the one place that names them. One more: a line here or in ``LAB_MIDDLEWARES``."""

import importlib
from collections.abc import Iterator
from contextlib import suppress

from lab.middleware import Middleware as Middleware
from lab.settings import SettingsError, settings


def _all() -> Iterator[Middleware]:
    yield Middleware("xmlrpc", "XML-RPC", is_direct=True)
    yield Middleware("pyro4", "Pyro4", is_direct=True)
    yield Middleware("redis_impl", "Redis", is_direct=False, broker="redis")
    yield Middleware("rabbitmq", "RabbitMQ", is_direct=False, broker="rabbitmq")
    with suppress(SettingsError):  # every command, process and test reads the settings: there it is said
        for package in settings().packages:
            yield importlib.import_module(package).MIDDLEWARE


MIDDLEWARES = {middleware.name: middleware for middleware in _all()}
