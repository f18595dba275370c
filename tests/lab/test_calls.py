"""What clients share: operation ids, one call at a time, batches, and the receiving end of a broadcast."""

import multiprocessing
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.client.calls import MAX_BATCH_CHARACTERS, MISSED_AT_MOST, DirectFilterCalls, Inbox, batches
from lab.client.connection import CallGuard
from lab.contract import Tick
from lab.errors import DeadlineExceeded, Unavailable
from lab.limits import MAX_TEXT_BYTES
from lab.operations import new_operation_id
from tests.eventually import eventually

SECONDS = 10.0
LONG_SECONDS = 3600.0


def test_no_id_is_given_to_two_threads() -> None:
    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(lambda _: new_operation_id(), range(10_000)))
    assert len(set(ids)) == len(ids)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_forked_processes_give_other_ids_than_each_other_and_their_parent() -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        processes = pool.map_async(_some_ids, range(8), chunksize=1).get(timeout=30.0)
    ids = [made for some in processes for made in some] + _some_ids(0)
    assert len(set(ids)) == len(ids)


def _some_ids(_: int) -> list[str]:
    return [new_operation_id() for _ in range(100)]


class Line:
    """A connection that counts how often it was closed."""

    def __init__(self) -> None:
        self.closed = 0
        self.guard = CallGuard(self.close)

    def close(self) -> None:
        self.closed += 1

    def ask(self, answer: object) -> object:
        if isinstance(answer, type) and issubclass(answer, BaseException):
            raise answer
        return answer


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError, TimeoutError, ValueError])
def test_any_exception_closes_the_connection_and_the_next_call_opens_one(kind: type[BaseException]) -> None:
    line = Line()
    with pytest.raises(kind):
        line.guard.call(SECONDS, line.ask, kind)
    assert line.closed == 1
    assert line.guard.call(SECONDS, line.ask, "answer") == "answer"
    assert line.closed == 1


def test_an_interrupt_that_kept_the_connection_from_being_closed_closes_it_before_the_next_call() -> None:
    line = Line()
    line.guard._is_unread = True  # an interrupt may come before any line of the guard
    line.guard.call(SECONDS, line.ask, "answer")
    assert line.closed == 1


def test_a_thread_waits_for_the_other_ones_call_no_longer_than_its_deadline() -> None:
    line = Line()
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> bool:
        begun.set()
        return go_on.wait(SECONDS)

    with ThreadPoolExecutor(1) as threads:
        under_way = threads.submit(line.guard.call, SECONDS, wait)
        assert begun.wait(SECONDS)
        with pytest.raises(DeadlineExceeded, match="another thread"):
            line.guard.call(0.05, line.ask, "answer")
        line.guard.close()
        assert line.closed == 0  # a call is under way on it
        go_on.set()
        assert under_way.result()
    assert line.closed == 1
    assert line.guard.call(SECONDS, line.ask, "answer") == "answer"


def test_the_largest_text_is_a_batch_of_its_own() -> None:
    largest = "x" * MAX_TEXT_BYTES
    assert list(batches(["a", largest, "b"], 100)) == [["a"], [largest], ["b"]]


def test_texts_are_read_only_as_far_as_they_are_needed() -> None:
    read = []

    def endless() -> Iterator[str]:
        while True:
            read.append("x")
            yield "x"

    assert next(batches(endless(), 10)) == ["x"] * 10
    assert len(read) <= 11


@given(st.lists(st.integers(0, MAX_TEXT_BYTES), max_size=30), st.integers(1, 10))
def test_batches_hold_every_text_once_in_order_and_keep_both_limits(sizes: list[int], most: int) -> None:
    texts = ["x" * size for size in sizes]
    cut = list(batches(texts, most))
    assert [text for batch in cut for text in batch] == texts
    assert all(1 <= len(batch) <= most for batch in cut)
    assert all(len(batch) == 1 or sum(map(len, batch)) <= MAX_BATCH_CHARACTERS for batch in cut)


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


def test_a_tick_that_comes_late_is_dropped(source: Source) -> None:
    source.deliver(5, 3, 6)
    assert [tick.number for tick in source.received()] == [5, 6]


def test_the_numbers_that_were_missed_are_given_with_the_next_tick(source: Source) -> None:
    source.deliver(5, 6, 10, 11)
    assert [tick.missed for tick in source.received()] == [(), (), (7, 8, 9), ()]


def test_a_waiting_reader_gets_the_tick_when_it_comes(source: Source) -> None:
    threading.Timer(0.05, source.deliver, (1,)).start()
    assert source.inbox.receive(SECONDS) == Tick(1, "insult 1")


def test_an_iteration_ends_when_the_subscription_is_closed(source: Source) -> None:
    ticks: list[Tick] = []
    reader = threading.Thread(target=lambda: ticks.extend(source.inbox), daemon=True)
    reader.start()
    source.deliver(1)
    source.inbox.close()
    reader.join(SECONDS)
    assert (reader.is_alive(), [tick.number for tick in ticks]) == (False, [1])


def test_a_closed_subscription_stays_closed_for_every_reader(source: Source) -> None:
    source.inbox.close()
    answers: list[object] = []

    def ask() -> None:
        answers.extend([source.inbox.receive(LONG_SECONDS), list(source.inbox), list(source.inbox)])

    reader = threading.Thread(target=ask, daemon=True)
    reader.start()
    reader.join(SECONDS)
    assert answers == [None, [], []]


def test_closing_twice_leaves_once(source: Source) -> None:
    source.inbox.close()
    source.inbox.close()
    assert source.left == 1


def test_a_source_that_is_gone_does_not_hinder_closing(source: Source) -> None:
    source.fails = True
    source.inbox.close()
    assert list(source.inbox) == []


def test_an_open_subscription_is_renewed_and_a_closed_one_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.client.calls.SUBSCRIPTION_RENEWAL_SECONDS", 0.001)
    threads = set(threading.enumerate())
    renewals: list[int] = []
    inbox = Inbox(lambda: None, lambda: renewals.append(1))
    eventually(lambda: len(renewals) > 3)
    inbox.close()
    eventually(lambda: "subscription" not in {thread.name for thread in {*threading.enumerate()} - threads})


def test_a_renewal_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.client.calls.SUBSCRIPTION_RENEWAL_SECONDS", 0.001)
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
    monkeypatch.setattr("lab.client.calls.SUBSCRIPTION_RENEWAL_SECONDS", 0.001)
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
        ticks = [inbox.receive(SECONDS) for _ in range(3)]
    assert ticks == [Tick(50, "before"), Tick(1, "after"), Tick(3, "on", (2,))]


def test_a_subscriber_that_was_away_beyond_its_lease_is_told_what_it_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lab.client.calls.SUBSCRIPTION_RENEWAL_SECONDS", 0.001)
    renewals: list[int] = []

    def renew() -> bool:
        renewals.append(1)
        return True

    with Inbox(lambda: None, renew) as inbox:
        inbox.deliver(5, "before")
        eventually(lambda: len(renewals) > 1)
        inbox.deliver(8, "after")
        ticks = [inbox.receive(SECONDS) for _ in range(2)]
    assert ticks == [Tick(5, "before"), Tick(8, "after", (6, 7))]


class _Client(DirectFilterCalls):
    """Answers only while *together* calls are under way at once, each on a client of its own."""

    def __init__(self, together: threading.Barrier, opened: list["_Client"]) -> None:
        self.together, self.opened = together, opened
        self.busy = threading.Lock()
        self.is_closed = False
        opened.append(self)

    def _another(self) -> "_Client":
        return _Client(self.together, self.opened)

    def _filtered(self, texts: list[str]) -> list[str]:
        return texts

    def perform(self, operation: object, *arguments: object, deadline_seconds: float = 0.0) -> object:
        assert self.busy.acquire(blocking=False)
        self.together.wait(10.0)
        self.busy.release()
        return arguments[0]

    def close(self) -> None:
        self.is_closed = True


def test_a_direct_client_keeps_so_many_calls_under_way_each_on_a_connection_of_its_own() -> None:
    opened: list[_Client] = []
    client = _Client(threading.Barrier(4), opened)
    texts = [str(number) for number in range(40)]
    assert list(client.filter_many(texts, in_flight=4)) == texts
    assert (len(opened), [each.is_closed for each in opened]) == (5, [False, True, True, True, True])
