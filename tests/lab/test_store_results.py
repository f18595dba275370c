"""The result list of a store, the same in memory and in Redis."""

import pytest

from lab.contract import Result
from lab.errors import InvalidRequest
from lab.limits import MAX_REPLY_BYTES
from lab.store import Store
from tests.lab.conftest import Later, MakeStore

HOUR = 3600.0
LEASE_SECONDS = 10.0


def finish(store: Store, *petition_ids: str) -> None:
    """Put a result on the list for each id."""
    for petition_id in petition_ids:
        store.complete(petition_id, f"result {petition_id}")


def test_a_petition_has_no_result_before_it_is_completed(store: Store) -> None:
    store.submit("a", "text a")
    assert store.result("a") is None
    store.take(LEASE_SECONDS)
    assert store.result("a") is None


def test_a_completed_petition_has_its_result(store: Store) -> None:
    store.submit("a", "text a")
    store.take(LEASE_SECONDS)
    assert store.complete("a", "the result") is True
    assert store.result("a") == "the result"


def test_a_late_second_result_is_refused(store: Store) -> None:
    store.complete("a", "the first")
    with pytest.raises(InvalidRequest, match="this id was used"):
        store.complete("a", "the second")
    assert (store.result("a"), store.get_results(10)) == ("the first", [("a", "the first")])


def test_a_petition_that_waited_elsewhere_can_be_completed(store: Store) -> None:
    assert store.complete("a", "the result") is True
    assert store.result("a") == "the result"


def test_without_results_the_list_is_empty(store: Store) -> None:
    page = store.get_results(10)
    assert (page, page.more) == ([], False)


def test_results_come_newest_first(store: Store) -> None:
    finish(store, "b", "c", "a")
    assert store.get_results(10) == [
        Result("a", "result a"),
        Result("c", "result c"),
        Result("b", "result b"),
    ]


@pytest.mark.parametrize(
    ("limit", "given", "more"), [(1, 1, True), (2, 2, True), (3, 3, False), (4, 3, False)]
)
def test_a_page_of_results_ends_at_its_limit_and_says_whether_there_are_more(
    store: Store, limit: int, given: int, more: bool
) -> None:
    finish(store, "a", "b", "c")
    page = store.get_results(limit)
    assert (len(page), page.more) == (given, more)


@pytest.mark.parametrize("limit", [50, 51, 120, 1000])
def test_a_page_of_many_results_is_in_order(store: Store, limit: int) -> None:
    ids = [f"{number:03}" for number in range(120)]
    finish(store, *ids)
    assert [result.petition_id for result in store.get_results(limit)] == ids[::-1][:limit]


def test_a_page_of_results_stops_at_512_kib_of_utf_8(store: Store) -> None:
    text = "é" * 32_000
    for number in range(12):
        store.complete(str(number), text)
    page = store.get_results(1000)
    assert (len(page), page.more) == (MAX_REPLY_BYTES // 64_001, True)


def test_a_result_that_fills_a_page_is_given_alone(store: Store) -> None:
    store.complete("small", "x")
    store.complete("large", "x" * 2 * MAX_REPLY_BYTES)
    page = store.get_results(10)
    assert ([result.petition_id for result in page], page.more) == (["large"], True)


def test_a_resolve_is_answered_again_with_what_it_gave(store: Store) -> None:
    store.submit("a", "text a")
    store.take(LEASE_SECONDS)
    store.complete("a", 'a "result"\n é', "operation")
    assert store.resolved("operation") == Result("a", 'a "result"\n é')


def test_a_resolve_that_was_never_asked_gave_nothing(store: Store) -> None:
    store.complete("a", "the result")
    store.complete("b", "the result", "operation")
    assert (store.resolved("another"), store.resolved("b")) == (None, None)


def test_only_so_many_results_are_kept_and_those_the_newest(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.store.memory.MAX_RESULTS", 3)
    monkeypatch.setattr("lab.store.redis_store.MAX_RESULTS", 3)
    store = make_store()
    finish(store, "a", "b", "c", "d", "e")
    assert [result.petition_id for result in store.get_results(10)] == ["e", "d", "c"]
    assert [store.result(petition_id) for petition_id in "abc"] == [None, None, "result c"]


def test_results_are_kept_for_an_hour(store: Store, later: Later) -> None:
    finish(store, "old")
    later(0.9 * HOUR)
    finish(store, "new")
    assert store.result("old") == "result old"
    assert [result.petition_id for result in store.get_results(10)] == ["new", "old"]


def test_results_older_than_an_hour_are_gone(store: Store, later: Later) -> None:
    finish(store, "old")
    later(1.1 * HOUR)
    finish(store, "new")
    assert store.result("old") is None
    assert [result.petition_id for result in store.get_results(10)] == ["new"]


def test_what_a_resolve_gave_is_forgotten_with_its_operation_id(store: Store, later: Later) -> None:
    store.complete("a", "the result", "operation")
    later(0.3 * HOUR)
    assert store.resolved("operation") is None
    assert store.result("a") == "the result"


def test_a_result_older_than_an_hour_is_not_read_although_nothing_has_finished_since(
    store: Store, later: Later
) -> None:
    finish(store, "old")
    later(1.1 * HOUR)
    page = store.get_results(10)
    assert (store.result("old"), page, page.more) == (None, [], False)


def test_a_petition_whose_result_is_too_old_can_have_a_new_one(store: Store, later: Later) -> None:
    finish(store, "old", "other")
    later(1.1 * HOUR)
    assert store.complete("old", "new") is True
    assert (store.result("old"), store.get_results(10)) == ("new", [("old", "new")])
