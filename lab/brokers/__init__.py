"""Redis and RabbitMQ: given, found, or started privately. Nothing of the user's is touched."""

from lab.brokers.broker import Broker, redacted
from lab.brokers.provide import rabbitmq_broker, redis_broker

__all__ = ["Broker", "rabbitmq_broker", "redacted", "redis_broker"]
