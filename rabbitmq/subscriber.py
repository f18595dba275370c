"""Subscribe to the broadcast over RabbitMQ and print what comes."""

from lab.brokers.locate import locate_rabbitmq
from lab.subscriber import subscriber_main

from .insult_service import InsultServiceClient


def default_address() -> str:
    """Return where the broker is."""
    return locate_rabbitmq()


def main(argv: list[str] | None = None) -> int:
    return subscriber_main("rabbitmq.subscriber", default_address, InsultServiceClient, argv)


if __name__ == "__main__":
    raise SystemExit(main())
