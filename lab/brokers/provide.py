"""Get a broker: the one given, started by ``lab up`` or found; else a private one; else install one."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from lab.brokers import rabbitmq_server, redis_server
from lab.brokers.broker import Broker, redacted
from lab.brokers.install import install_rabbitmq, install_redis
from lab.brokers.locate import located
from lab.brokers.server import Server
from lab.errors import Unavailable
from lab.settings import Settings


def redis_broker(settings: Settings, *, private: bool = False) -> Broker:
    """Return a Redis; *private*: one of our own in any case. Unavailable, with the mend, if there is none."""
    found = None if private else _found("redis", settings, redis_server.answers, redis_server.guarantees)
    return found or private_redis(_folder("redis"))


def rabbitmq_broker(settings: Settings, *, private: bool = False, may_install: bool = False) -> Broker:
    """Return a RabbitMQ; see :func:`redis_broker`. *may_install*: do not ask before installing it."""
    found = (
        None if private else _found("rabbitmq", settings, rabbitmq_server.answers, rabbitmq_server.guarantees)
    )
    return found or private_rabbitmq(_folder("rabbitmq"), may_install=may_install)


def private_redis(folder: Path, *, detached: bool = False) -> Broker:
    """Start a Redis with its data in *folder*."""
    path = redis_server.binary() or (install_redis() and redis_server.binary())
    if not path:
        raise Unavailable(
            "no Redis: `apt install redis-server` or `brew install redis`, or set LAB_REDIS_URL"
        )
    url, server = redis_server.private(path, folder, detached=detached)
    return _private("redis", url, redis_server.guarantees(url), server)


def private_rabbitmq(folder: Path, *, may_install: bool = False, detached: bool = False) -> Broker:
    """Start a RabbitMQ with its data in *folder*."""
    path = rabbitmq_server.script()
    if not path and install_rabbitmq(agreed=may_install):
        path = rabbitmq_server.script()
    if not path:
        raise Unavailable(
            "no RabbitMQ: `apt install rabbitmq-server` or `brew install rabbitmq` (--yes does it), or set "
            "LAB_AMQP_URL"
        )
    url, server = rabbitmq_server.private(path, folder, detached=detached)
    return _private("rabbitmq", url, rabbitmq_server.guarantees(url), server)


def _private(kind: str, url: str, guarantees: str, server: Server) -> Broker:
    return Broker(kind, url, "private", guarantees, server)


def _found(
    kind: str, settings: Settings, answers: Callable[[str], bool], guarantees: Callable[[str], str]
) -> Broker | None:
    found = located(kind, settings)
    if found is None:
        return None
    url, origin = found
    if not answers(url):
        raise Unavailable(
            f"the {kind} at {redacted(url)} ({origin}) does not answer; start it or unset the variable"
        )
    return Broker(kind, url, origin, guarantees(url))


def _folder(kind: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"lab-{kind}-"))
