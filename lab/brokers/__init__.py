"""Redis and RabbitMQ: given, found, or started privately. Nothing of the user's is touched.

Nodes use what is found here; they never start a broker. Their start-up time is measured, and they are told
their brokers as a rule. So the libraries behind these functions are imported when they are called.
"""

from lab.brokers.locate import locate_rabbitmq, locate_redis, located
from lab.brokers.server import Broker, redacted
from lab.options import LOOPBACK
from lab.settings import Settings

__all__ = [
    "Broker",
    "locate_rabbitmq",
    "locate_redis",
    "located",
    "rabbitmq_broker",
    "redacted",
    "redis_broker",
]


def redis_broker(settings: Settings, *, private: bool = False, host: str = LOOPBACK) -> Broker:
    """Return a Redis; raise Unavailable, with the fix, if there is none.

    *private*: one of our own in any case. *host*: the address at which a private one listens.
    """
    from lab.brokers import provide

    return provide.redis_broker(settings, private=private, host=host)


def rabbitmq_broker(settings: Settings, *, private: bool = False, host: str = LOOPBACK) -> Broker:
    """Return a RabbitMQ; see :func:`redis_broker`."""
    from lab.brokers import provide

    return provide.rabbitmq_broker(settings, private=private, host=host)
