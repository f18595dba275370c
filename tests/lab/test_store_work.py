"""The work list of a store, the same in memory and in Redis."""

from concurrent.futures import ThreadPoolExecutor

from lab.store import Store
from tests.lab.conftest import Later

LEASE_SECONDS = 10.0
OVER = 0.0
"""A lease that is over at once, as if the node that took the text had died."""


def submit(store: Store, *petition_ids: str) -> None:
    """Submit a text for each id."""
    for petition_id in petition_ids:
        store.submit(petition_id, f"text {petition_id}")


def taken(store: Store) -> list[str]:
    """Take every waiting text; return their ids."""
    ids = []
    while text := store.take(LEASE_SECONDS):
        ids.append(text.petition_id)
    return ids


def take(store: Store) -> tuple[str, str] | None:
    """Take the oldest waiting text; return its id and the text."""
    text = store.take(LEASE_SECONDS)
    return text[:2] if text else None


def finish(store: Store, *petition_ids: str) -> None:
    """Put a result on the list for each id."""
    for petition_id in petition_ids:
        store.complete(petition_id, f"result {petition_id}")


def test_of_an_empty_work_list_nothing_is_taken(store: Store) -> None:
    assert store.take(LEASE_SECONDS) is None


def test_a_taken_text_is_the_one_submitted(store: Store) -> None:
    store.submit("petition", "é ß 喂\n\x00")
    assert take(store) == ("petition", "é ß 喂\n\x00")


def test_an_empty_text_is_a_text(store: Store) -> None:
    store.submit("petition", "")
    assert take(store) == ("petition", "")
    store.complete("petition", "")
    assert store.result("petition") == ""
    assert store.get_results(10) == [("petition", "")]


def test_texts_are_taken_oldest_first(store: Store) -> None:
    submit(store, "c", "a", "b")
    assert taken(store) == ["c", "a", "b"]


def test_waiting_texts_are_counted_until_they_are_taken(store: Store) -> None:
    submit(store, "a", "b")
    assert store.waiting() == 2
    store.take(LEASE_SECONDS)
    assert store.waiting() == 1


def test_a_text_is_taken_by_one_of_many(store: Store) -> None:
    ids = [f"{number:02}" for number in range(40)]
    submit(store, *ids)
    with ThreadPoolExecutor(8) as threads:
        texts = list(threads.map(lambda _: store.take(LEASE_SECONDS), range(48)))
    assert sorted(text.petition_id for text in texts if text) == ids


def test_a_text_whose_lease_is_over_waits_again(store: Store) -> None:
    submit(store, "a")
    store.take(OVER)
    assert take(store) == ("a", "text a")
    assert store.take(LEASE_SECONDS) is None


def test_a_text_whose_lease_ran_out_comes_before_younger_ones(store: Store) -> None:
    submit(store, "a", "b")
    store.take(OVER)
    assert taken(store) == ["a", "b"]


def test_texts_whose_leases_ran_out_together_are_taken_oldest_first(store: Store, later: Later) -> None:
    submit(store, "b", "a", "d", "c")
    for _ in range(3):
        store.take(LEASE_SECONDS)
    later(LEASE_SECONDS + 1)
    assert taken(store) == ["b", "a", "d", "c"]


def test_a_lease_that_is_not_over_holds(store: Store, later: Later) -> None:
    submit(store, "a", "b")
    store.take(LEASE_SECONDS)
    later(LEASE_SECONDS / 2)
    assert taken(store) == ["b"]


def test_a_text_taken_again_has_a_new_lease(store: Store, later: Later) -> None:
    submit(store, "a")
    for _ in range(3):
        assert store.take(LEASE_SECONDS) is not None
        later(LEASE_SECONDS + 1)
    assert take(store) == ("a", "text a")
    later(LEASE_SECONDS / 2)
    assert store.take(LEASE_SECONDS) is None


def test_a_completed_text_is_not_taken_again_when_its_lease_is_over(store: Store) -> None:
    submit(store, "a")
    store.take(OVER)
    finish(store, "a")
    assert (store.take(LEASE_SECONDS), store.waiting()) == (None, 0)


def test_a_text_that_waits_again_is_not_taken_once_its_first_node_completed_it(
    store: Store, later: Later
) -> None:
    submit(store, "a", "b")
    store.take(LEASE_SECONDS)
    store.take(LEASE_SECONDS)
    later(LEASE_SECONDS + 1)
    assert take(store) == ("a", "text a")
    finish(store, "b")
    submit(store, "c")
    assert taken(store) == ["c"]
    assert (store.result("b"), store.waiting()) == ("result b", 0)
