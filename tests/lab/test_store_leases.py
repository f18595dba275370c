"""Who may complete a text: epochs, owners and leases of the work list, the same in memory and in Redis."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.store import Store, WaitingText
from lab.store.protocol import FAILURES_AT_MOST
from tests.lab.conftest import Later

LEASE_SECONDS = 10.0
OVER = 0.0
"""A lease that is over at once, as if the node that took the text had died."""


def take(store: Store, lease_seconds: float = LEASE_SECONDS, owner: str = "") -> WaitingText:
    """Take the oldest waiting text; there is one."""
    text = store.take(lease_seconds, owner)
    assert text is not None
    return text


def complete(store: Store, text: WaitingText, result: str) -> bool:
    """Complete *text* under the epoch with which it was taken."""
    return store.complete(text.petition_id, result, epoch=text.epoch)


@pytest.fixture
def one(store: Store) -> Store:
    """A store with one waiting text."""
    store.submit("a", "text a")
    return store


def test_epochs_grow(store: Store) -> None:
    for petition_id in "abc":
        store.submit(petition_id, "text")
    first, second = take(store, OVER), take(store)
    third = take(store)
    assert 0 < first.epoch < second.epoch < third.epoch


def test_who_took_a_text_completes_it_once(one: Store) -> None:
    text = take(one)
    assert [complete(one, text, "result"), complete(one, text, "again")] == [True, False]
    assert one.result("a") == "result"


def test_a_late_result_is_refused_once_another_took_the_text(one: Store) -> None:
    frozen = take(one, OVER)
    taken_over = take(one)
    assert complete(one, frozen, "late") is False
    assert one.result("a") is None
    assert complete(one, taken_over, "result") is True
    assert (one.result("a"), one.fenced()) == ("result", 1)


def test_a_late_result_is_refused_once_another_finished_the_text(one: Store) -> None:
    frozen = take(one, OVER)
    complete(one, take(one), "result")
    assert complete(one, frozen, "late") is False
    assert (one.result("a"), one.fenced()) == ("result", 1)


def test_a_late_result_of_a_text_that_nobody_else_took_counts(one: Store, later: Later) -> None:
    slow = take(one)
    later(LEASE_SECONDS + 1)
    assert complete(one, slow, "result") is True
    assert (one.result("a"), one.take(LEASE_SECONDS), one.fenced()) == ("result", None, 0)


def test_a_late_result_of_a_text_that_waits_again_counts(one: Store) -> None:
    one.submit("b", "text b")
    first, second = take(one, OVER, "ana"), take(one, OVER, "ana")
    assert (first.petition_id, second.petition_id) == ("a", "a")
    one.release("ana")
    assert complete(one, second, "result") is True
    assert take(one).petition_id == "b"
    assert one.take(LEASE_SECONDS) is None


def test_nothing_is_refused_of_who_never_took_it(one: Store) -> None:
    """Petitions on a broker's queue have no lease here: the first result counts."""
    take(one)
    assert one.complete("a", "result") is True
    assert one.fenced() == 0


def test_a_renewed_lease_holds(one: Store, later: Later) -> None:
    text = take(one)
    for _ in range(3):
        later(0.7 * LEASE_SECONDS)
        assert one.renew("a", text.epoch, LEASE_SECONDS) is True
    assert one.take(LEASE_SECONDS) is None
    assert complete(one, text, "result") is True


def test_a_renewed_lease_runs_out_as_any_other(one: Store, later: Later) -> None:
    text = take(one)
    later(0.7 * LEASE_SECONDS)
    one.renew("a", text.epoch, LEASE_SECONDS)
    later(LEASE_SECONDS + 1)
    assert take(one).petition_id == "a"


def test_what_another_took_cannot_be_renewed(one: Store) -> None:
    frozen = take(one, OVER)
    taken_over = take(one)
    assert one.renew("a", frozen.epoch, LEASE_SECONDS) is False
    assert one.renew("a", taken_over.epoch, LEASE_SECONDS) is True


def test_what_waits_again_or_is_finished_or_was_never_taken_cannot_be_renewed(one: Store) -> None:
    assert one.renew("a", 0, LEASE_SECONDS) is False
    text = take(one, owner="ana")
    one.release("ana")
    assert one.renew("a", text.epoch, LEASE_SECONDS) is False
    text = take(one)
    complete(one, text, "result")
    assert one.renew("a", text.epoch, LEASE_SECONDS) is False
    assert one.take(LEASE_SECONDS) is None


def test_the_texts_of_a_dead_owner_wait_again_at_once(store: Store) -> None:
    for petition_id in "abcd":
        store.submit(petition_id, f"text {petition_id}")
    taken = [take(store, owner=owner) for owner in ("ana", "bert", "ana")]
    assert store.release("ana") == 2
    assert [take(store).petition_id for _ in range(3)] == ["a", "c", "d"]
    assert complete(store, taken[0], "late") is False
    assert complete(store, taken[1], "result") is True


def test_an_owner_whose_name_begins_another_is_another(store: Store) -> None:
    store.submit("a", "text")
    take(store, owner="node-1")
    assert [store.release("node"), store.release("node-"), store.release("node-1")] == [0, 0, 1]


def test_what_was_finished_or_taken_over_is_not_released(store: Store) -> None:
    store.submit("a", "text")
    store.submit("b", "text")
    complete(store, take(store, owner="ana"), "result")
    take(store, OVER, "ana")
    take(store, owner="bert")
    assert store.release("ana") == 0
    assert store.take(LEASE_SECONDS) is None


def test_a_text_that_kills_whoever_takes_it_is_put_aside_with_a_reason(store: Store) -> None:
    store.submit("killer", "the text")
    store.submit("b", "text")
    for _ in range(FAILURES_AT_MOST):
        assert take(store, OVER).petition_id == "killer"
    assert take(store).petition_id == "b"
    assert store.take(LEASE_SECONDS) is None
    [letter] = store.dead_letters(10)
    assert (letter.petition_id, letter.text) == ("killer", "the text")
    assert letter.reason.startswith(f"taken {FAILURES_AT_MOST} times")


def test_a_text_that_was_put_aside_is_neither_taken_nor_completed_late(store: Store) -> None:
    store.submit("killer", "the text")
    late = [take(store, OVER) for _ in range(FAILURES_AT_MOST)]
    assert store.take(LEASE_SECONDS) is None
    assert [complete(store, text, "late") for text in late] == [False] * FAILURES_AT_MOST
    assert (store.waiting(), store.result("killer")) == (0, None)


def test_a_text_submitted_again_while_it_is_worked_on_is_not_taken_twice(store: Store, later: Later) -> None:
    store.submit("a", "text")
    text = take(store, 3600.0)
    later(1000.0)  # the id of the submit is forgotten
    store.submit("a", "text")
    assert (store.waiting(), store.take(LEASE_SECONDS)) == (0, None)
    assert complete(store, text, "result") is True


def test_of_many_that_complete_a_text_one_does(store: Store) -> None:
    numbers = [f"{number:02}" for number in range(20)]
    for number in numbers:
        store.submit(number, "text")
    taken = [take(store) for _ in numbers] * 3
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda text: complete(store, text, "result"), taken))
    assert (sum(answers), store.fenced()) == (20, 40)
