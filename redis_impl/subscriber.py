"""Subscribe to the broadcast over Redis and print what comes."""

from lab.brokers.locate import locate_redis
from lab.subscriber import subscriber_main

from .insult_service import InsultServiceClient


def default_address() -> str:
    """Return where the broker is."""
    return locate_redis()


def main(argv: list[str] | None = None) -> int:
    return subscriber_main("redis_impl.subscriber", default_address, InsultServiceClient, argv)


if __name__ == "__main__":
    raise SystemExit(main())
