"""The broadcast: a drift-free tick, and delivery in which a slow subscriber delays nobody else."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lab.contract import Tick
from lab.errors import LabError
from lab.store.protocol import Store

log = logging.getLogger(__name__)

DELIVERY_THREADS = 256
"""Started as they are needed; so many subscribers may be frozen before others wait for a time limit."""


class Broadcaster(threading.Thread):
    """While the broadcast is on, sends one random insult per *interval_seconds* through *send*.

    The schedule is that of the monotonic clock at the start, so that a late tick makes the next no later. A
    tick that a stalled machine missed altogether is skipped, not made up for in a burst.
    """

    def __init__(self, store: Store, send: Callable[[Tick], None], interval_seconds: float) -> None:
        super().__init__(name="broadcaster", daemon=True)
        self._store = store
        self._send = send
        self._interval_seconds = interval_seconds
        self._stopping = threading.Event()

    def run(self) -> None:
        due = time.monotonic() + self._interval_seconds
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            try:
                self._tick()
            except LabError as error:
                log.warning("tick not sent: %s", error)
            late = time.monotonic() - due
            due += self._interval_seconds * (1 + max(0, int(late / self._interval_seconds)))

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Send nothing more."""
        self._stopping.set()
        if self.is_alive():
            self.join(timeout_seconds)

    def _tick(self) -> None:
        if not self._store.broadcast_on():
            return
        insult = self._store.random_insult()
        if insult is not None:
            self._send(Tick(self._store.next_tick(), insult))


class FanOut:
    """Calls each subscriber of a store with ``notify(uri, tick)``, many at a time.

    *notify* must return or raise within its own time limit. A subscriber that still has not taken the last
    tick is left out of this one: it learns from the tick's number what it missed.
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
                self._threads.submit(self._deliver, uri, tick)

    def close(self) -> None:
        """Deliver nothing more that has not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _deliver(self, uri: str, tick: Tick) -> None:
        try:
            self._notify(uri, tick)
        except LabError as error:
            log.info("subscriber %s did not take tick %d: %s", uri, tick.number, error)
        finally:
            self._busy.discard(uri)
