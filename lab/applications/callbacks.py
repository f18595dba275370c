"""Call subscribers back, at the addresses that the node's operator allows, and nowhere else.

``add_subscriber`` makes a node open a connection to an address that a stranger gives. By default only
loopback is allowed. The node does not look a name up when a subscriber comes. It resolves the names that are
allowed when it starts, and calls the address that it found: so a name cannot come to mean another host later.
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple

from lab.applications.service import ServiceApplication
from lab.client.retry import ToNode
from lab.contract import Tick
from lab.errors import Code, InvalidRequest, Unavailable
from lab.store import Store
from lab.validation import clean_subscriber

LOOPBACK_NAME = "localhost"
NOTIFY_SECONDS = 2.0
"""A subscriber that has not taken a tick after this time has missed it."""


class SubscriberUri(NamedTuple):
    """The parts of a subscriber's URI: what stands before its host, the host, and what stands after it."""

    before: str
    host: str
    after: str


class AllowedHosts:
    """Loopback, and the *allowed* host names, addresses and networks (``10.0.0.0/8``)."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._networks = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")]
        self._names = {LOOPBACK_NAME: "127.0.0.1"}
        for one in allowed:
            try:
                self._networks.append(ipaddress.ip_network(one, strict=False))
            except ValueError:
                self._names[one.lower()] = _resolved(one)

    def address(self, host: str) -> str:
        """Return the address to call for *host*; MALFORMED if it is not allowed."""
        named = self._names.get(host.lower())
        if named:
            return named
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            address = None
        if address is None or not any(address in network for network in self._networks):
            message = "subscribers are called back at loopback only, or where --allow-subscribers says"
            raise InvalidRequest(Code.MALFORMED, f"{message}; {host[:60]!r} is neither")
        return str(address)


class CalledBackService(ServiceApplication):
    """An InsultService whose subscribers are called back, at allowed hosts.

    *split* takes a URI of *scheme* apart, or raises an InvalidRequest.
    """

    def __init__(
        self, store: Store, scheme: str, split: Callable[[str], SubscriberUri], allowed: AllowedHosts
    ) -> None:
        super().__init__(store, subscriber_schemes=(scheme,))
        self._scheme = scheme
        self._split = split
        self._allowed = allowed

    def add_subscriber(self, uri: object) -> bool:
        """Call *uri* back at each tick for 30 s; adding it again renews it. True if it was not there."""
        return super().add_subscriber(self._checked(uri))

    def remove_subscriber(self, uri: object) -> bool:
        """Call *uri* no more. True if it was there."""
        return super().remove_subscriber(self._checked(uri))

    def _checked(self, uri: object) -> str:
        """Return *uri* with an address in place of a name."""
        before, host, after = self._split(clean_subscriber(uri, (self._scheme,)))
        address = self._allowed.address(host)
        return f"{before}[{address}]{after}" if ":" in address else f"{before}{address}{after}"


class Notifier(Generic[ToNode]):
    """Calls subscribers back, over a connection to each that stays open.

    *tell* sends a tick over a connection, within the seconds that it is given.
    """

    def __init__(
        self, connect: Callable[[str], ToNode], tell: Callable[[ToNode, Tick, float], object]
    ) -> None:
        self._connect = connect
        self._tell = tell
        self._connections: dict[str, ToNode] = {}

    def notify(self, uri: str, tick: Tick) -> None:
        """Tell the subscriber at *uri* of *tick*; a LabError if it does not take it in 2 s."""
        connection = self._connections.pop(uri, None) or self._connect(uri)
        try:
            self._tell(connection, tick, NOTIFY_SECONDS)
        except BaseException:
            connection.close()
            raise
        self._connections[uri] = connection

    def close(self) -> None:
        """Close the connections."""
        while self._connections:
            self._connections.popitem()[1].close()


def _resolved(name: str) -> str:
    try:
        return str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        message = f"--allow-subscribers {name}: no such host ({error.strerror}), address or network"
        raise Unavailable(message) from error
