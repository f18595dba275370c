"""Subscribe to the broadcast over Pyro4 and print what comes."""

from lab.subscriber import subscriber_main

from .insult_service import InsultServiceClient
from .transport import DEFAULT_PORT


def default_address() -> str:
    """Return where the name server is."""
    return f"127.0.0.1:{DEFAULT_PORT}"


def main(argv: list[str] | None = None) -> int:
    return subscriber_main("pyro4.subscriber", default_address, InsultServiceClient, argv)


if __name__ == "__main__":
    raise SystemExit(main())
