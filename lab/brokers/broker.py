"""A broker that can be used, wherever it came from."""

from types import TracebackType
from typing import Self

from lab.brokers.server import Server, redacted


class Broker:
    """A context manager: a private broker ends with it, any other goes on running.

    *origin* is "given" (by ``LAB_*_URL``), "up" (``lab up`` started it), "found" (on its usual port) or
    "private". *guarantees* says how durable it is.
    """

    def __init__(
        self, kind: str, url: str, origin: str, guarantees: str, server: Server | None = None
    ) -> None:
        self.kind = kind
        self.url = url
        self.origin = origin
        self.guarantees = guarantees
        self.server = server
        """The process of a private broker, to kill and restart it."""

    def describe(self) -> str:
        """Say in one line what it is, without its password."""
        return f"{self.kind}: {self.origin}, {redacted(self.url)}, {self.guarantees}"

    def close(self) -> None:
        """End a private broker and remove its data."""
        if self.server:
            self.server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
