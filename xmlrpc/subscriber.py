"""Subscribe to the broadcast over XML-RPC and print what comes."""

from lab.subscriber import subscriber_main

from .insult_service import InsultServiceClient


def default_address() -> str:
    """Return where the InsultService of one node is."""
    return "http://127.0.0.1:8002"


def main(argv: list[str] | None = None) -> int:
    return subscriber_main("xmlrpc.subscriber", default_address, InsultServiceClient, argv)


if __name__ == "__main__":
    raise SystemExit(main())
