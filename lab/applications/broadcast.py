"""The broadcast: a drift-free tick, and delivery in which a slow subscriber delays nobody else.

The second half calls the subscribers of a direct middleware back, at the addresses that the node's operator
allows, and nowhere else. ``add_subscriber`` makes a node open a connection to an address that a stranger
gives. By default only loopback is allowed. The node does not look a name up when a subscriber comes. It
resolves the names that are allowed when it starts, and calls the address that it found: so a name cannot come
to mean another host later.
"""

import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

from lab.applications.service import ServiceApplication
from lab.contract import Tick
from lab.errors import Code, InvalidRequest, LabError, Unavailable
from lab.operations import new_operation_id
from lab.store.protocol import Hold, Store
from lab.validation import clean_subscriber

log = logging.getLogger(__name__)

DELIVERY_THREADS = 256
"""They start when they are needed. If more subscribers than this are frozen, others wait for a time limit."""
LEASE_SECONDS = 3.0
"""How long a broadcaster that does not renew its lease keeps the other ones of its namespace silent."""
RENEWAL_SECONDS = 1.0


class Broadcaster(threading.Thread):
    """While the broadcast is on, sends one random insult per *interval_seconds* through *send*.

    The schedule follows the monotonic clock from the start, so a late tick does not delay the next. A tick
    that a stalled machine missed is left out; no burst follows. Of all broadcasters of a store, only one
    sends. If it dies or freezes, another takes over within ``LEASE_SECONDS`` and a renewal, one interval
    after the last tick.
    """

    def __init__(self, store: Store, send: Callable[[Tick], None], interval_seconds: float) -> None:
        super().__init__(name="broadcaster", daemon=True)
        self._store = store
        self._send = send
        self._interval_seconds = interval_seconds
        self._owner = new_operation_id()
        self._epoch = 0
        self._held_until = 0.0
        self._due = 0.0
        self._stopping = threading.Event()

    def run(self) -> None:
        self._due = time.monotonic() + self._interval_seconds
        wake_at = time.monotonic()
        while not self._stopping.wait(max(0.0, wake_at - time.monotonic())):
            try:
                self._step()
            except LabError as error:
                log.warning("tick not sent: %s", error)
            except Exception:
                log.exception("tick not sent")
            now = time.monotonic()
            if now >= self._due:
                self._due += self._interval_seconds * (1 + int((now - self._due) / self._interval_seconds))
            wake_at = min(self._due, now + RENEWAL_SECONDS)

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Send nothing more, and let another broadcaster take over at once."""
        self._stopping.set()
        if self.is_alive():
            self.join(timeout_seconds)
        if self._epoch:
            with suppress(LabError):  # the lease will end
                self._store.leave_broadcast(self._owner)

    def _step(self) -> None:
        """Hold the broadcast, or try to; send the tick if one is due."""
        asked_at = time.monotonic()
        hold = self._store.hold_broadcast(self._owner, LEASE_SECONDS)
        if hold is None:
            self._epoch = 0
            return
        self._held_until = asked_at + LEASE_SECONDS
        if hold.epoch != self._epoch:
            self._take_over(hold)
        if time.monotonic() >= self._due:
            self._tick()

    def _take_over(self, hold: Hold) -> None:
        """Send the next tick one interval after the last, also one of another; at once if it is late."""
        stood_by, self._epoch = not self._epoch, hold.epoch
        if hold.ticked_ago is None:
            return
        now = time.monotonic()
        since = max(0.0, hold.ticked_ago)  # a clock that was set back must not silence the broadcast
        self._due = max(now if stood_by else self._due, now + self._interval_seconds - since)

    def _tick(self) -> None:
        if not self._store.broadcast_on():
            return
        insult = self._store.random_insult()
        if insult is None:
            return
        number = self._store.next_tick(self._epoch)
        if not number or time.monotonic() >= self._held_until:  # frozen: another sends, or soon will
            log.warning("tick not sent: another process broadcasts")
            return
        self._send(Tick(number, insult))


class FanOut:
    """Calls each subscriber of a store with ``notify(uri, tick)``, many at a time.

    *notify* must return or raise within its own time limit. A subscriber that is still busy with the last
    tick does not get this one. The number of the next tick tells it what it missed.
    """

    def __init__(self, store: Store, notify: Callable[[str, Tick], None]) -> None:
        self._store = store
        self._notify = notify
        self._threads = ThreadPoolExecutor(DELIVERY_THREADS, "deliver")
        self._busy: set[str] = set()

    def __call__(self, tick: Tick) -> None:
        """Start to deliver *tick* to every subscriber; return at once."""
        for uri in self._store.subscribers():
            if uri not in self._busy:
                self._busy.add(uri)
                try:
                    self._threads.submit(self._deliver, uri, tick)
                except RuntimeError as error:
                    raise Unavailable("the broadcast is closed") from error

    def close(self) -> None:
        """Deliver nothing more that has not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _deliver(self, uri: str, tick: Tick) -> None:
        try:
            self._notify(uri, tick)
        except LabError as error:
            log.info("subscriber %s did not take tick %d: %s", uri, tick.number, error)
        except Exception:
            log.exception("subscriber %s did not take tick %d", uri, tick.number)
        finally:
            self._busy.discard(uri)


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


def _resolved(name: str) -> str:
    try:
        return str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        message = f"--allow-subscribers {name}: no such host ({error.strerror}), address or network"
        raise Unavailable(message) from error
