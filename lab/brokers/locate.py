"""Find a running broker: the one given, that of ``lab up``, or the one on its usual port."""

from lab.errors import Unavailable
from lab.settings import Settings, settings


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
