"""Whom a node may call back: subscribers at the addresses that its operator allows, and nobody else.

``add_subscriber`` makes a node open a connection to wherever a stranger says. By default that is loopback
only. Names are not looked up when a subscriber comes: those that are allowed were resolved at the start, and
the address that was found is what is called, so that a name cannot come to mean another host later.
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

from lab.applications.service import ServiceApplication
from lab.errors import Code, InvalidRequest, Unavailable
from lab.store import Store
from lab.validation import clean_subscriber

LOOPBACK_NAME = "localhost"


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


def _resolved(name: str) -> str:
    try:
        return str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        message = f"--allow-subscribers {name}: no such host ({error.strerror}), address or network"
        raise Unavailable(message) from error
