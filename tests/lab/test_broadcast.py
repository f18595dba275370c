"""The broadcast's drift-free schedule, by a clock that the test moves."""

from types import SimpleNamespace

import pytest

from lab.applications.broadcast import LEASE_SECONDS, Broadcaster
from lab.contract import Tick
from lab.errors import Unavailable
from lab.store import MemoryStore
from tests.lab.clock import Clock

INTERVAL_SECONDS = 5.0
TIMEOUT_SECONDS = 10.0


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


def test_a_tick_comes_once_per_interval(schedule: Schedule) -> None:
    schedule.run(4)
    assert schedule.sent_at == [5.0, 10.0, 15.0, 20.0]
    assert schedule.ticks == [Tick(number, "tonto") for number in (1, 2, 3, 4)]


def test_a_tick_that_takes_long_makes_the_next_no_later(schedule: Schedule) -> None:
    schedule.takes = {1: 4.9, 2: 1.0, 3: 3.0}
    schedule.run(4)
    assert schedule.sent_at == [5.0, 10.0, 15.0, 20.0]


def test_a_tick_that_was_missed_altogether_is_not_made_up_for(schedule: Schedule) -> None:
    schedule.takes = {1: 13.0}
    schedule.run(5)
    assert schedule.sent_at == [5.0, 20.0, 25.0]


def test_numbers_have_no_gap_where_a_tick_was_missed(schedule: Schedule) -> None:
    schedule.takes = {1: 13.0}
    schedule.run(5)
    assert [tick.number for tick in schedule.ticks] == [1, 2, 3]


def test_a_tick_that_cannot_be_sent_does_not_end_the_broadcast(schedule: Schedule) -> None:
    schedule.fails = True
    schedule.run(3)
    assert schedule.sent_at == [5.0, 10.0, 15.0]


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


def test_a_running_broadcaster_ends_when_it_is_stopped() -> None:
    broadcaster = Broadcaster(MemoryStore(), lambda tick: None, 3600.0)
    broadcaster.start()
    broadcaster.stop(TIMEOUT_SECONDS)
    assert not broadcaster.is_alive()
    broadcaster.stop()


def test_a_broadcaster_that_never_ran_can_be_stopped() -> None:
    broadcaster = Broadcaster(MemoryStore(), lambda tick: None, INTERVAL_SECONDS)
    broadcaster.stop()
    assert not broadcaster.is_alive()


def test_who_takes_over_goes_on_an_interval_after_the_last_tick(schedule: Schedule) -> None:
    schedule.run(1)  # sent at 5 s
    schedule.clock.now += 2.0
    schedule.run(2)
    assert schedule.sent_at == [5.0, 10.0, 15.0]


def test_who_takes_over_late_sends_at_once(schedule: Schedule) -> None:
    schedule.run(1)
    schedule.clock.now += 7.0
    schedule.run(1)
    assert schedule.sent_at == [5.0, 12.0, 17.0]


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
