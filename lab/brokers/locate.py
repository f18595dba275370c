"""Find a running broker for a node: nodes never start one."""

from lab.errors import Unavailable
from lab.settings import settings


def locate_redis() -> str:
    """Return the URL of the Redis to use; raise Unavailable with the mend if there is none."""
    url = settings().redis_url
    if not url:
        raise Unavailable("no Redis found: start one with `python3 -m lab up`, or set LAB_REDIS_URL")
    return url


def locate_rabbitmq() -> str:
    """Return the URL of the RabbitMQ to use; raise Unavailable with the mend if there is none."""
    url = settings().amqp_url
    if not url:
        raise Unavailable("no RabbitMQ found: start one with `python3 -m lab up`, or set LAB_AMQP_URL")
    return url
