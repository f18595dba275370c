"""The broadcast: a schedule without drift, one broadcaster of many, and a delivery that nobody delays."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import cast

import pytest

from lab.applications.broadcast import DELIVERY_THREADS, LEASE_SECONDS, Broadcaster, FanOut
from lab.contract import Tick
from lab.errors import Unavailable
from lab.store import MemoryStore, Store
from tests.eventually import eventually
from tests.lab.conftest import Clock, Later

INTERVAL_SECONDS = 5.0
TIMEOUT_SECONDS = 10.0
SHORT_SECONDS = 0.05
Broadcast = Callable[[Store, list[Tick]], Broadcaster]
SUBSCRIBED_SECONDS = 3600.0


class Waits(Clock):
    """A clock whose waits are those of the broadcaster's event: at the end it says stop."""

    def __init__(self) -> None:
        super().__init__()
        self.end = self.started

    def wait(self, seconds: float) -> bool:
        """Take the place of an event's: let the time pass."""
        if self.now + seconds > self.end:
            return True
        self.sleep(seconds)
        return False

    def set(self) -> None:
        """Take the place of an event's: it has said stop already."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """The clock that the broadcaster goes by."""
    clock = Waits()
    monkeypatch.setattr("lab.applications.broadcast.time", clock)
    monkeypatch.setattr("lab.applications.broadcast.threading", SimpleNamespace(Event=lambda: clock))
    return clock


class Schedule:
    """Runs a broadcaster by a clock; each tick takes as long as the test says."""

    def __init__(self, clock: Waits) -> None:
        self.clock = clock
        self.store = MemoryStore(clock.monotonic)
        self.store.add_insult("tonto")
        self.store.set_broadcast(True)
        self.ticks: list[Tick] = []
        self.sent_at: list[float] = []
        self.takes: dict[int, float] = {}
        self.fails = False

    def send(self, tick: Tick) -> None:
        self.ticks.append(tick)
        self.sent_at.append(self.clock.elapsed)
        self.clock.now += self.takes.get(tick.number, 0.0)
        if self.fails:
            raise Unavailable("nobody listens")

    def run(self, ticks: int) -> None:
        """Run a broadcaster until so many ticks are due by the schedule."""
        self.clock.end = self.clock.now + ticks * INTERVAL_SECONDS
        broadcaster = Broadcaster(self.store, self.send, INTERVAL_SECONDS)
        broadcaster.run()
        broadcaster.stop()


@pytest.fixture
def schedule(clock: Waits) -> Schedule:
    """A schedule by the clock."""
    return Schedule(clock)


def test_a_tick_that_takes_long_makes_the_next_no_later(schedule: Schedule) -> None:
    schedule.takes = {1: 4.9, 2: 1.0, 3: 3.0}
    schedule.run(4)
    assert schedule.sent_at == [5.0, 10.0, 15.0, 20.0]


def test_a_tick_that_was_missed_altogether_is_not_made_up_for(schedule: Schedule) -> None:
    schedule.takes = {1: 13.0}
    schedule.run(5)
    assert schedule.sent_at == [5.0, 20.0, 25.0]


def test_while_the_broadcast_is_off_nothing_is_sent_or_counted(schedule: Schedule) -> None:
    schedule.store.set_broadcast(False)
    schedule.run(3)
    schedule.store.set_broadcast(True)
    schedule.run(1)
    assert schedule.ticks == [Tick(1, "tonto")]


def test_without_insults_nothing_is_sent_or_counted(schedule: Schedule) -> None:
    schedule.store.remove_insult("tonto")
    schedule.run(3)
    assert (schedule.ticks, schedule.store.next_tick()) == ([], 1)


def test_what_is_added_and_removed_counts_from_the_next_tick(schedule: Schedule) -> None:
    schedule.run(1)
    schedule.store.add_insult("bobo")
    schedule.store.remove_insult("tonto")
    schedule.run(1)
    assert [tick.insult for tick in schedule.ticks] == ["tonto", "bobo"]


def test_a_store_that_is_away_does_not_end_the_broadcast(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False, True, False])

    def broadcast_on() -> bool:
        if next(answers):
            raise Unavailable("the store is away")
        return True

    monkeypatch.setattr(schedule.store, "broadcast_on", broadcast_on)
    schedule.run(3)
    assert schedule.sent_at == [5.0, 15.0]


def test_an_error_that_nobody_foresaw_does_not_end_the_broadcast(schedule: Schedule) -> None:
    sent = iter([ValueError("a bug"), None, None])

    def send(tick: Tick) -> None:
        if error := next(sent):
            raise error
        schedule.send(tick)

    schedule.clock.end = schedule.clock.now + 3 * INTERVAL_SECONDS
    Broadcaster(schedule.store, send, INTERVAL_SECONDS).run()
    assert schedule.sent_at == [10.0, 15.0]


def test_the_next_broadcaster_goes_on_an_interval_after_the_last_tick(schedule: Schedule) -> None:
    schedule.run(1)  # sent at 5 s
    schedule.clock.now += 2.0
    schedule.run(2)
    assert schedule.sent_at == [5.0, 10.0, 15.0]


def test_a_tick_whose_hold_ran_out_before_it_was_sent_is_not_sent(schedule: Schedule) -> None:
    """The process was frozen between the count and the sending; its number is missed, not late."""
    next_tick = schedule.store.next_tick

    def freeze(epoch: int = 0) -> int:
        number = next_tick(epoch)
        schedule.clock.now += LEASE_SECONDS if number == 1 else 0.0
        return number

    schedule.store.next_tick = freeze  # type: ignore[method-assign]
    schedule.run(3)
    assert [tick.number for tick in schedule.ticks] == [2, 3]


class Frozen:
    """A store as a broadcaster sees it that is frozen just before a tick is counted, until it is woken."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.reached = threading.Event()
        self.woken = threading.Event()
        self.numbers: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def next_tick(self, epoch: int = 0) -> int:
        self.reached.set()
        self.woken.wait(TIMEOUT_SECONDS)
        self.numbers.append(self._store.next_tick(epoch))
        return self.numbers[-1]


@pytest.fixture
def on_air(store: Store) -> Store:
    """A store of each kind, its broadcast on."""
    store.add_insult("tonto")
    store.set_broadcast(True)
    return store


@pytest.fixture
def broadcast() -> Iterator[Broadcast]:
    """Start broadcasters that tick twenty times a second; stop them."""
    with ExitStack() as stack:

        def start(store: Store, sent: list[Tick]) -> Broadcaster:
            broadcaster = Broadcaster(store, sent.append, SHORT_SECONDS)
            stack.callback(broadcaster.stop, TIMEOUT_SECONDS)
            broadcaster.start()
            return broadcaster

        yield start


def test_when_a_broadcaster_stops_another_takes_over_at_once(on_air: Store, broadcast: Broadcast) -> None:
    first: list[Tick] = []
    second: list[Tick] = []
    stopping = broadcast(on_air, first)
    eventually(lambda: len(first) > 2)
    broadcast(on_air, second)
    stopping.stop(TIMEOUT_SECONDS)
    eventually(lambda: len(second) > 2)
    numbers = [tick.number for tick in first + second]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_frozen_broadcaster_is_replaced_and_sends_nothing_when_it_wakes(
    on_air: Store, broadcast: Broadcast, later: Later
) -> None:
    frozen = Frozen(on_air)
    first: list[Tick] = []
    second: list[Tick] = []
    broadcast(cast(Store, frozen), first)
    assert frozen.reached.wait(TIMEOUT_SECONDS)
    later(LEASE_SECONDS + 1)
    broadcast(on_air, second)
    eventually(lambda: len(second) > 2)
    frozen.woken.set()
    eventually(lambda: frozen.numbers)
    eventually(lambda: len(second) > 5)
    assert (frozen.numbers, first) == ([0], [])
    assert [tick.number for tick in second] == list(range(1, len(second) + 1))


class Audience:
    """Subscribers of a store; the slow ones do not return from a delivery until they are released."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.release = threading.Event()
        self.slow: set[str] = set()
        self.dead: set[str] = set()
        self.bad: set[str] = set()
        self.called: list[tuple[str, int]] = []
        self.took: list[tuple[str, int]] = []
        self.number = 0
        self.fan_out = FanOut(self.store, self.notify)

    def subscribe(self, *uris: str) -> None:
        for uri in uris:
            self.store.add_subscriber(uri, SUBSCRIBED_SECONDS)

    def notify(self, uri: str, tick: Tick) -> None:
        self.called.append((uri, tick.number))
        if uri in self.dead:
            raise Unavailable("connection refused")
        if uri in self.bad:
            raise ValueError("a bug")
        if uri in self.slow:
            self.release.wait(TIMEOUT_SECONDS)
        self.took.append((uri, tick.number))

    def send(self) -> None:
        """Send the next tick."""
        self.number += 1
        self.fan_out(Tick(self.number, "tonto"))

    def wait_for(self, number: int, *uris: str) -> None:
        """Wait until all *uris* have taken the tick *number*."""
        eventually(lambda: {(uri, number) for uri in uris} <= set(self.took))

    def send_until_taken(self, *uris: str) -> None:
        """Send ticks until each of *uris* has taken one of them: who has just taken one may miss the next."""
        already = self.number

        def all_took() -> bool:
            self.send()
            return {uri for uri, number in list(self.took) if number > already} >= set(uris)

        eventually(all_took)


@pytest.fixture
def audience() -> Iterator[Audience]:
    """An audience of nobody yet."""
    audience = Audience()
    yield audience
    audience.release.set()
    audience.fan_out.close()


def test_slow_subscribers_delay_nobody_else(audience: Audience) -> None:
    audience.slow = {f"slow {number}" for number in range(DELIVERY_THREADS - 1)}
    audience.subscribe(*audience.slow, "ana", "bert")
    for _ in range(3):
        audience.send_until_taken("ana", "bert")
    assert {uri for uri, _ in audience.took} == {"ana", "bert"}


def test_a_subscriber_that_still_has_not_taken_a_tick_is_left_out_of_the_next(audience: Audience) -> None:
    audience.slow = {"slow"}
    audience.subscribe("slow", "ana")
    for _ in range(3):
        audience.send_until_taken("ana")
    assert [call for call in audience.called if call[0] == "slow"] == [("slow", 1)]


def test_a_subscriber_that_was_slow_takes_part_again(audience: Audience) -> None:
    audience.slow = {"slow"}
    audience.subscribe("slow")
    audience.send()
    audience.release.set()
    audience.wait_for(1, "slow")
    audience.send_until_taken("slow")
    assert audience.took[-1][1] > 1


def test_a_dead_subscriber_delays_nobody(audience: Audience) -> None:
    audience.dead = {f"dead {number}" for number in range(2 * DELIVERY_THREADS)}
    audience.subscribe(*audience.dead, "ana")
    audience.send()
    audience.wait_for(1, "ana")
    assert audience.took == [("ana", 1)]


def test_closing_waits_for_no_subscriber_and_drops_a_delivery_that_has_not_begun(audience: Audience) -> None:
    audience.slow = {f"slow {number}" for number in range(DELIVERY_THREADS)}
    audience.subscribe(*audience.slow)
    audience.send()
    eventually(lambda: len(audience.called) == DELIVERY_THREADS)
    audience.subscribe("late")
    audience.send()
    audience.fan_out.close()
    assert audience.took == []
    audience.release.set()
    eventually(lambda: len(audience.took) == DELIVERY_THREADS)
    assert "late" not in {uri for uri, _ in audience.called}


def test_a_tick_after_the_close_is_refused(audience: Audience) -> None:
    audience.subscribe("ana")
    audience.fan_out.close()
    with pytest.raises(Unavailable):
        audience.send()
    assert audience.called == []


def test_an_error_that_nobody_foresaw_is_logged(audience: Audience, caplog: pytest.LogCaptureFixture) -> None:
    audience.bad = {"bad"}
    audience.subscribe("bad")
    audience.send()
    eventually(lambda: "bad" in caplog.text)
    audience.bad.clear()
    audience.send_until_taken("bad")
