"""Redis and RabbitMQ: given, found, or started privately. Nothing of the user's is touched.

Nodes use what is found here; they never start a broker. Their start-up time is measured, and they are told
their brokers as a rule. So the libraries behind these functions are imported when they are called.
"""

from lab.brokers.server import Broker, redacted
from lab.errors import Unavailable
from lab.options import LOOPBACK
from lab.settings import Settings, settings

__all__ = [
    "Broker",
    "locate_rabbitmq",
    "locate_redis",
    "located",
    "rabbitmq_broker",
    "redacted",
    "redis_broker",
]


def redis_broker(
    settings: Settings, *, private: bool = False, may_install: bool = False, host: str = LOOPBACK
) -> Broker:
    """Return a Redis; raise Unavailable, with the fix, if there is none.

    *private*: one of our own in any case. *may_install*: do not ask before a package is installed.
    *host*: the address at which a private one listens.
    """
    from lab.brokers import provide

    return provide.redis_broker(settings, private=private, may_install=may_install, host=host)


def rabbitmq_broker(
    settings: Settings, *, private: bool = False, may_install: bool = False, host: str = LOOPBACK
) -> Broker:
    """Return a RabbitMQ; see :func:`redis_broker`."""
    from lab.brokers import provide

    return provide.rabbitmq_broker(settings, private=private, may_install=may_install, host=host)


def locate_redis() -> str:
    """Return the URL of the Redis to use; raise Unavailable with the fix if there is none."""
    return _located("redis", settings())[0]


def locate_rabbitmq() -> str:
    """Return the URL of the RabbitMQ to use; raise Unavailable with the fix if there is none."""
    return _located("rabbitmq", settings())[0]


def located(kind: str, known: Settings, *, lasting: bool = False) -> tuple[str, str] | None:
    """Return URL and origin of the *kind* of broker that was given or runs, or None.

    *lasting*: leave out one that ends with a ``lab serve``. That one is for the clients of its system.
    """
    given = known.redis_url if kind == "redis" else known.amqp_url
    return (given, "given") if given else _searched(kind, lasting)


def _searched(kind: str, lasting: bool) -> tuple[str, str] | None:
    from lab.brokers import rabbitmq_server, redis_server
    from lab.brokers.state import read_state

    up = read_state().get(kind)
    if up and (up.lasting or not lasting):
        return up.url, "up"
    server = redis_server if kind == "redis" else rabbitmq_server
    return (server.DEFAULT_URL, "found") if server.answers(server.DEFAULT_URL) else None


def _located(kind: str, known: Settings) -> tuple[str, str]:
    found = located(kind, known)
    if found is None:
        variable = "LAB_REDIS_URL" if kind == "redis" else "LAB_AMQP_URL"
        raise Unavailable(f"no {kind} runs here: start one with `python3 -m lab up`, or set {variable}")
    return found
