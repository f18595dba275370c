"""The receiving end of a broadcast: nothing twice, nothing out of order, and what is missing is said."""

import os
import threading
from collections.abc import Iterator

import pytest

from lab.client.subscription import MISSED_AT_MOST, Inbox
from lab.contract import Tick
from lab.errors import Unavailable
from tests.eventually import eventually

TIMEOUT_SECONDS = 10.0
LONG_SECONDS = 3600.0


class Source:
    """Where an inbox subscribed: it knows who left."""

    def __init__(self) -> None:
        self.left = 0
        self.fails = False
        self.inbox = Inbox(self.leave)

    def leave(self) -> None:
        self.left += 1
        if self.fails:
            raise Unavailable("the source is gone")

    def deliver(self, *numbers: int) -> None:
        for number in numbers:
            self.inbox.deliver(number, f"insult {number}")

    def received(self) -> list[Tick]:
        """Return what has come so far."""
        ticks = []
        while tick := self.inbox.receive(0.0):
            ticks.append(tick)
        return ticks


@pytest.fixture
def source() -> Iterator[Source]:
    """A source with an inbox that listens."""
    source = Source()
    yield source
    source.inbox.close()


def test_ticks_are_received_in_their_order(source: Source) -> None:
    source.deliver(7, 8, 9)
    assert source.received() == [Tick(number, f"insult {number}") for number in (7, 8, 9)]


def test_a_tick_that_comes_twice_is_received_once(source: Source) -> None:
    source.deliver(1, 1, 2, 2, 1)
    assert [tick.number for tick in source.received()] == [1, 2]


def test_a_tick_that_comes_late_is_dropped(source: Source) -> None:
    source.deliver(5, 3, 6)
    assert [tick.number for tick in source.received()] == [5, 6]


def test_the_numbers_that_were_missed_are_said_with_the_next_tick(source: Source) -> None:
    source.deliver(5, 6, 10, 11)
    assert [tick.missed for tick in source.received()] == [(), (), (7, 8, 9), ()]


def test_what_was_sent_before_the_first_tick_was_not_missed(source: Source) -> None:
    source.deliver(1_000_000)
    assert source.received() == [Tick(1_000_000, "insult 1000000")]


def test_when_nothing_comes_nothing_is_received(source: Source) -> None:
    assert source.inbox.receive(0.01) is None


def test_who_waits_is_given_the_tick_when_it_comes(source: Source) -> None:
    threading.Timer(0.05, source.deliver, (1,)).start()
    assert source.inbox.receive(TIMEOUT_SECONDS) == Tick(1, "insult 1")


def test_iterating_ends_when_the_subscription_is_closed(source: Source) -> None:
    source.deliver(1, 2)
    source.inbox.close()
    assert [tick.number for tick in source.inbox] == [1, 2]


def test_who_iterates_while_it_is_closed_is_told_the_end(source: Source) -> None:
    ticks: list[Tick] = []
    reader = threading.Thread(target=lambda: ticks.extend(source.inbox), daemon=True)
    reader.start()
    source.deliver(1)
    source.inbox.close()
    reader.join(TIMEOUT_SECONDS)
    assert (reader.is_alive(), [tick.number for tick in ticks]) == (False, [1])


def test_a_closed_subscription_stays_closed_for_everybody_who_asks(source: Source) -> None:
    source.inbox.close()
    answers: list[object] = []

    def ask() -> None:
        answers.extend([source.inbox.receive(LONG_SECONDS), list(source.inbox), list(source.inbox)])

    reader = threading.Thread(target=ask, daemon=True)
    reader.start()
    reader.join(TIMEOUT_SECONDS)
    assert answers == [None, [], []]


def test_what_comes_after_the_close_is_dropped(source: Source) -> None:
    source.inbox.close()
    source.deliver(1)
    assert list(source.inbox) == []


def test_closing_twice_leaves_once(source: Source) -> None:
    source.inbox.close()
    source.inbox.close()
    assert source.left == 1


def test_leaving_the_context_closes(source: Source) -> None:
    with source.inbox as inbox:
        assert inbox is source.inbox
        assert source.left == 0
    assert source.left == 1


def test_a_source_that_is_gone_does_not_hinder_closing(source: Source) -> None:
    source.fails = True
    source.inbox.close()
    assert list(source.inbox) == []


def test_an_open_subscription_is_renewed_and_a_closed_one_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.client.subscription.SUBSCRIPTION_RENEWAL_SECONDS", 0.001)
    threads = set(threading.enumerate())
    renewals: list[int] = []
    inbox = Inbox(lambda: None, lambda: renewals.append(1))
    eventually(lambda: len(renewals) > 3)
    inbox.close()
    eventually(lambda: "subscription" not in {thread.name for thread in {*threading.enumerate()} - threads})


def test_a_renewal_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.client.subscription.SUBSCRIPTION_RENEWAL_SECONDS", 0.001)
    monkeypatch.setattr("lab.background.BACK_OFF_SECONDS", 0.001)
    renewals: list[int] = []

    def renew() -> None:
        renewals.append(1)
        if len(renewals) < 3:
            raise Unavailable("the master is away")

    with Inbox(lambda: None, renew):
        assert eventually(lambda: len(renewals) > 3)


def test_a_number_that_is_far_too_large_costs_little(source: Source) -> None:
    source.deliver(1, 10**15)
    missed = source.received()[1].missed
    assert (len(missed), missed[-1]) == (MISSED_AT_MOST, 10**15 - 1)


def test_a_source_that_lost_its_count_is_heard_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node with its state in memory was restarted: it learns of the subscription by the renewal."""
    monkeypatch.setattr("lab.client.subscription.SUBSCRIPTION_RENEWAL_SECONDS", 0.001)
    was_there = [True]
    renewals: list[bool] = []

    def renew() -> bool:
        renewals.append(not was_there[0])
        was_there[0] = True
        return renewals[-1]

    with Inbox(lambda: None, renew) as inbox:
        inbox.deliver(50, "before")
        inbox.deliver(1, "late")
        was_there[0] = False
        eventually(lambda: True in renewals and renewals[-1] is False)
        inbox.deliver(1, "after")
        inbox.deliver(1, "twice")
        inbox.deliver(3, "on")
        ticks = [inbox.receive(TIMEOUT_SECONDS) for _ in range(3)]
    assert ticks == [Tick(50, "before"), Tick(1, "after"), Tick(3, "on", (2,))]


def test_who_was_away_beyond_its_lease_is_told_what_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.client.subscription.SUBSCRIPTION_RENEWAL_SECONDS", 0.001)
    renewals: list[int] = []

    def renew() -> bool:
        renewals.append(1)
        return True

    with Inbox(lambda: None, renew) as inbox:
        inbox.deliver(5, "before")
        eventually(lambda: len(renewals) > 1)
        inbox.deliver(8, "after")
        ticks = [inbox.receive(TIMEOUT_SECONDS) for _ in range(2)]
    assert ticks == [Tick(5, "before"), Tick(8, "after", (6, 7))]


def test_in_a_forked_process_a_subscription_refuses_and_its_source_is_left_alone() -> None:
    left: list[int] = []
    inbox = Inbox(lambda: left.append(os.getpid()))
    child = os.fork()
    if child == 0:
        code = 2
        try:
            with pytest.raises(Unavailable):
                inbox.receive(5.0)
            with pytest.raises(Unavailable):
                next(iter(inbox))
            inbox.close()
            code = 1 if left else 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    inbox.deliver(1, "tonto")
    assert inbox.receive(5.0) == Tick(1, "tonto")
    inbox.close()
    assert left == [os.getpid()]
