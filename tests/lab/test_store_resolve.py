"""A resolve takes one text, however often it is repeated: the same in memory and in Redis."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.contract import Result
from lab.store import Store, UnderWay, WaitingText
from tests.lab.conftest import Later

LEASE_SECONDS = 10.0
OVER = 0.0
MINUTE = 60.0
ID = "operation"


@pytest.fixture
def two(store: Store) -> Store:
    """A store with two waiting texts."""
    store.submit("a", "text a")
    store.submit("b", "text b")
    return store


def take_for(store: Store, lease_seconds: float = LEASE_SECONDS) -> WaitingText:
    """Take a text for the resolve; there is one to take."""
    text = store.take_for(ID, lease_seconds, "node")
    assert isinstance(text, WaitingText)
    return text


def test_a_resolve_takes_the_oldest_text(two: Store) -> None:
    assert take_for(two)[:2] == ("a", "text a")


def test_a_resolve_that_is_under_way_takes_no_second_text(two: Store) -> None:
    take_for(two)
    assert two.take_for(ID, LEASE_SECONDS) == UnderWay("a")
    assert two.waiting() == 1


def test_of_many_that_repeat_a_resolve_at_once_one_takes_a_text(two: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: two.take_for(ID, LEASE_SECONDS), range(40)))
    assert [isinstance(answer, WaitingText) for answer in answers].count(True) == 1
    assert answers.count(UnderWay("a")) == 39


def test_a_resolve_that_is_done_gives_its_result_again(two: Store) -> None:
    text = take_for(two)
    assert two.complete("a", "the result", ID, text.epoch) is True
    for _ in range(3):
        assert two.take_for(ID, LEASE_SECONDS) == Result("a", "the result")
    assert (two.resolved(ID), two.waiting()) == (Result("a", "the result"), 1)


def test_a_resolve_of_an_empty_text_gives_it_again(store: Store) -> None:
    store.submit("a", "")
    store.submit("b", "text b")
    text = take_for(store)
    store.complete("a", "", ID, text.epoch)
    assert store.take_for(ID, LEASE_SECONDS) == Result("a", "")


def test_a_resolve_that_found_nothing_finds_nothing_again(store: Store) -> None:
    assert store.take_for(ID, LEASE_SECONDS) is None
    store.submit("a", "text a")
    assert store.take_for(ID, LEASE_SECONDS) is None
    assert store.take_for("another", LEASE_SECONDS) is not None
    assert store.resolved(ID) is None


def test_while_a_resolve_is_under_way_it_has_given_nothing(two: Store) -> None:
    take_for(two)
    assert two.resolved(ID) is None


def test_a_resolve_whose_node_died_takes_the_same_text_again(two: Store) -> None:
    died = take_for(two, OVER)
    again = take_for(two)
    assert (again.petition_id, again.epoch > died.epoch) == ("a", True)
    assert two.complete("a", "late", ID, died.epoch) is False
    assert two.complete("a", "the result", ID, again.epoch) is True
    assert two.take_for(ID, LEASE_SECONDS) == Result("a", "the result")


def test_a_resolve_whose_node_died_takes_its_text_although_that_waits_again(two: Store) -> None:
    take_for(two)
    two.release("node")
    assert take_for(two).petition_id == "a"
    other = two.take(LEASE_SECONDS)
    assert other is not None
    assert (other.petition_id, two.take(LEASE_SECONDS)) == ("b", None)


def test_a_resolve_whose_text_another_works_on_waits_for_it(two: Store) -> None:
    take_for(two, OVER)
    other = two.take(LEASE_SECONDS)
    assert other is not None
    assert two.take_for(ID, LEASE_SECONDS) == UnderWay("a")
    two.complete("a", "by another", epoch=other.epoch)
    assert two.take_for(ID, LEASE_SECONDS) == Result("a", "by another")
    assert (two.resolved(ID), two.waiting()) == (Result("a", "by another"), 1)


def test_resolves_with_other_ids_take_other_texts(two: Store) -> None:
    first, second = two.take_for("1", LEASE_SECONDS), two.take_for("2", LEASE_SECONDS)
    assert isinstance(first, WaitingText)
    assert isinstance(second, WaitingText)
    assert {first.petition_id, second.petition_id} == {"a", "b"}


def test_what_a_resolve_is_bound_to_is_forgotten_after_15_minutes(two: Store, later: Later) -> None:
    text = take_for(two)
    two.complete("a", "the result", ID, text.epoch)
    later(14 * MINUTE)
    assert two.take_for(ID, LEASE_SECONDS) == Result("a", "the result")
    later(16 * MINUTE)
    assert take_for(two).petition_id == "b"
