"""The broadcast: a drift-free tick, and delivery in which a slow subscriber delays nobody else."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from lab.contract import Tick
from lab.errors import LabError, Unavailable
from lab.operations import new_operation_id
from lab.store.protocol import Hold, Store

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
