"""The receiving end of a broadcast: an inbox that repeats nothing and says what is missing."""

import queue
from collections.abc import Callable, Iterator
from contextlib import suppress

from lab.background import heartbeat
from lab.client.calls import Calls
from lab.client.connection import after_fork
from lab.contract import Closing, Tick
from lab.errors import LabError, Unavailable
from lab.limits import SUBSCRIPTION_RENEWAL_SECONDS
from lab.operations import Operation
from lab.validation import clean_insult, clean_timeout

MISSED_AT_MOST = 10_000
"""How many missed numbers are named, the newest: 14 hours of ticks. It bounds the cost of a false number."""


class Inbox(Closing):
    """A :class:`~lab.contract.Subscription` fed by :meth:`deliver`.

    *leave* ends the subscription at its source; *renew*, where leases are used, is called every 3 s. It
    returns True where the source knew nothing of the subscription: if it lost its state, and with it the
    number of the last tick, the next tick begins a new count.
    """

    def __init__(self, leave: Callable[[], None], renew: Callable[[], object] | None = None) -> None:
        self._ticks: queue.SimpleQueue[Tick | None] = queue.SimpleQueue()
        self._leave = leave
        self._last = 0
        self._was_forgotten = False
        self._closed = False
        self._is_refused = False
        self._renew = renew
        self._renewal = heartbeat("subscription", SUBSCRIPTION_RENEWAL_SECONDS, self._beat) if renew else None
        if self._renewal:
            self._renewal.start()
        after_fork(self)

    def forked(self) -> None:
        """Refuse in a forked process, where nothing arrives: the threads that receive do not exist there."""
        self._is_refused = not self._closed
        self._closed = True
        self._ticks = queue.SimpleQueue()
        self._ticks.put(None)

    def deliver(self, number: int, insult: str) -> None:
        """Take the tick *number*. One that came before, or an older one, is dropped."""
        is_older = number <= self._last
        if self._closed or (is_older and not self._was_forgotten):
            return
        first_missed = max(self._last + 1, number - MISSED_AT_MOST)
        missed = () if is_older or not self._last else tuple(range(first_missed, number))
        self._last = number
        self._was_forgotten = False
        self._ticks.put(Tick(number, insult, missed))

    def receive(self, timeout: float) -> Tick | None:
        seconds = clean_timeout(timeout)
        try:
            return self._next(seconds)
        except queue.Empty:
            return None

    def __iter__(self) -> Iterator[Tick]:
        while (tick := self._next(None)) is not None:
            yield tick

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._renewal:
            self._renewal.stop(1.0)
        with suppress(LabError):  # its source is gone, and so is the subscription
            self._leave()
        self._ticks.put(None)

    def _next(self, seconds: float | None) -> Tick | None:
        """Return the next tick, or None once it is closed; wait at most *seconds*, or for ever."""
        tick = self._ticks.get(timeout=seconds)
        if tick is None:
            self._ticks.put(None)  # closed for the next caller too
            if self._is_refused:
                raise Unavailable("this subscription was opened before a fork; open one in the new process")
        return tick

    def _beat(self) -> None:
        if self._renew and self._renew() is True:
            self._was_forgotten = True


def receive_by_callback(
    client: Calls, serve: Callable[[Callable[[int, object], None]], tuple[str, Callable[[], object]]]
) -> Inbox:
    """Subscribe, through *client*, the address at which *serve* starts a server. The inbox then owns both.

    *serve* is given a function that takes a tick's number and insult. It returns the address, and a function
    that stops the server.
    """
    inbox: Inbox | None = None

    def take(number: int, insult: object) -> None:
        checked = clean_insult(insult)
        if inbox:
            inbox.deliver(number, checked)

    address, stop = serve(take)

    def renew() -> object:
        return client.perform(Operation.ADD_SUBSCRIBER, address)

    def leave() -> None:
        with suppress(LabError):
            client.perform(Operation.REMOVE_SUBSCRIBER, address)
        client.close()
        stop()

    try:
        renew()
    except BaseException:
        leave()
        raise
    inbox = Inbox(leave, renew)
    return inbox
