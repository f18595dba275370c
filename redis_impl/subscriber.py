"""Subscribe to the broadcast over Redis and print what comes."""

from lab.process.node import subscriber_main

from .insult_service import InsultServiceClient
from .topology import default_address


def main(argv: list[str] | None = None) -> int:
    return subscriber_main("redis_impl.subscriber", InsultServiceClient, default_address, argv)


if __name__ == "__main__":
    raise SystemExit(main())
