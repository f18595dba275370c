"""The insults of a store and what changed about them, the same in memory and in Redis."""

import random
from itertools import chain

import pytest

from lab.store import MemoryStore, Store
from lab.store.memory import KEPT_CHANGES
from lab.store.redis_store import connect
from tests.eventually import eventually
from tests.lab.conftest import OpenRedis

SORTED = ["Z", "a", "a b", "ab", "z", "é", "\ue000", "\uffff", "\U00010000", "😀"]
STRANGE = ["-", "+", "(a", "[a", "*", "a:b", "{a}", '"', "\\n", "0", "None", "喂 喂"]


def all_pages(store: Store, limit: int) -> list[list[str]]:
    """Return the pages of all insults."""
    pages, after = [], ""
    while page := store.get_insults(after, limit):
        assert page[0] > after, "the page begins where the one before did"
        pages.append(page)
        after = page[-1]
    return pages


def test_an_insult_is_new_once(store: Store) -> None:
    assert store.add_insult("tonto") is True
    assert store.add_insult("tonto") is False
    assert store.get_insults("", 10) == ["tonto"]


def test_insults_that_differ_in_case_are_two(store: Store) -> None:
    assert [store.add_insult("tonto"), store.add_insult("Tonto")] == [True, True]


def test_a_removed_insult_is_gone(store: Store) -> None:
    store.add_insult("tonto")
    assert store.remove_insult("tonto") is True
    assert store.get_insults("", 10) == []


def test_removing_what_is_not_there_says_so(store: Store) -> None:
    store.add_insult("bobo")
    assert store.remove_insult("tonto") is False
    assert store.get_insults("", 10) == ["bobo"]


def test_a_removed_insult_can_be_added_again(store: Store) -> None:
    store.add_insult("tonto")
    store.remove_insult("tonto")
    assert store.add_insult("tonto") is True
    assert store.get_insults("", 10) == ["tonto"]


def test_adding_many_counts_those_that_are_new(store: Store) -> None:
    store.add_insult("b")
    assert store.add_insults(iter(["a", "b", "c", "a"])) == 2
    assert store.get_insults("", 10) == ["a", "b", "c"]


def test_adding_none_adds_none(store: Store) -> None:
    assert store.add_insults([]) == 0
    assert store.count_insults() == 0


def test_more_insults_than_are_sent_at_once_are_all_added(store: Store) -> None:
    wanted = [f"{number:05}" for number in range(12_000)]
    assert store.add_insults(wanted) == len(wanted)
    assert list(chain(*all_pages(store, 1000))) == wanted


def test_insults_are_counted(store: Store) -> None:
    assert store.count_insults() == 0
    store.add_insults(["a", "b", "c"])
    store.remove_insult("b")
    assert store.count_insults() == 2


def test_insults_come_sorted_by_code_point(store: Store) -> None:
    store.add_insults(random.sample(SORTED, len(SORTED)))
    assert store.get_insults("", 100) == sorted(SORTED) == SORTED


@pytest.mark.parametrize("insult", STRANGE)
def test_an_insult_that_looks_like_syntax_is_an_insult(store: Store, insult: str) -> None:
    store.add_insult(insult)
    assert store.get_insults("", 10) == [insult]
    assert store.get_insults(insult, 10) == []
    assert (store.random_insult(), store.remove_insult(insult)) == (insult, True)


@pytest.mark.parametrize("limit", [1, 3, 9, 10, 11])
def test_pages_hold_every_insult_once(store: Store, limit: int) -> None:
    store.add_insults(SORTED)
    pages = all_pages(store, limit)
    assert list(chain(*pages)) == SORTED
    assert all(len(page) == limit for page in pages[:-1])


def test_a_page_begins_behind_an_insult_that_is_not_there(store: Store) -> None:
    store.add_insults(["a", "c", "d"])
    assert store.get_insults("b", 10) == ["c", "d"]


def test_paging_goes_on_although_the_last_insult_of_a_page_was_removed(store: Store) -> None:
    store.add_insults(["a", "b", "c"])
    last = store.get_insults("", 2)[-1]
    store.remove_insult(last)
    assert store.get_insults(last, 2) == ["c"]


def test_of_no_insults_none_is_random(store: Store) -> None:
    assert store.random_insult() is None
    store.add_insult("tonto")
    store.remove_insult("tonto")
    assert store.random_insult() is None


def test_every_insult_is_a_random_one_some_time(store: Store) -> None:
    wanted = {"a", "b", "c"}
    store.add_insults(wanted)
    seen: set[str | None] = set()

    def all_seen() -> bool:
        seen.add(store.random_insult())
        return seen >= wanted

    eventually(all_seen, every=0.0)
    assert seen == wanted


def test_without_a_change_nothing_changed(store: Store) -> None:
    store.add_insult("tonto")
    since = store.version()
    assert store.changes(since) == (since, [], True)


def test_changes_to_an_empty_store_are_told_in_their_order(store: Store) -> None:
    since = store.version()
    store.add_insult("tonto")
    store.add_insult("bobo")
    store.remove_insult("tonto")
    changes = store.changes(since)
    assert changes.changes == [(True, "tonto"), (True, "bobo"), (False, "tonto")]
    assert changes.complete


def test_only_changes_after_the_version_are_told(store: Store) -> None:
    store.add_insult("tonto")
    since = store.version()
    store.remove_insult("tonto")
    assert store.changes(since).changes == [(False, "tonto")]


def test_who_follows_is_told_each_change_once(store: Store) -> None:
    since = store.version()
    store.add_insult("tonto")
    first = store.changes(since)
    store.add_insult("bobo")
    second = store.changes(first.version)
    assert (first.changes, second.changes) == ([(True, "tonto")], [(True, "bobo")])
    assert store.changes(second.version).changes == []


def test_what_had_no_effect_is_no_change(store: Store) -> None:
    store.add_insult("tonto")
    since = store.version()
    store.add_insult("tonto")
    store.add_insults(["tonto"])
    store.remove_insult("bobo")
    assert store.changes(since).changes == []


def test_who_follows_hears_of_insults_that_were_added_all_at_once(store: Store) -> None:
    since = store.version()
    store.add_insults(["a", "b"])
    changes = store.changes(since)
    assert not changes.complete or changes.changes == [(True, "a"), (True, "b")]


def test_after_all_was_read_again_changes_are_complete(store: Store) -> None:
    store.add_insults(["a", "b"])
    since = store.version()
    store.add_insult("c")
    changes = store.changes(since)
    assert (changes.changes, changes.complete) == ([(True, "c")], True)


def test_memory_says_when_it_no_longer_knows_every_change() -> None:
    store = MemoryStore()
    oldest = store.version()
    store.add_insult("first")
    since = store.version()
    store.add_insults(map(str, range(KEPT_CHANGES)))
    assert store.changes(since).complete is True
    assert store.changes(oldest).complete is False


def test_redis_says_when_it_no_longer_knows_every_change(
    redis_url: str, open_redis: OpenRedis, namespace: str
) -> None:
    store = open_redis(namespace)
    versions = []
    for insult in ("a", "b", "c"):
        store.add_insult(insult)
        versions.append(store.version())
    with connect(redis_url) as client:
        client.xtrim(f"{namespace}:changes", maxlen=2, approximate=False)
    assert [store.changes(version).complete for version in versions] == [False, True, True]


def test_redis_that_lost_its_changes_says_that_it_does_not_know(
    redis_url: str, open_redis: OpenRedis, namespace: str
) -> None:
    store = open_redis(namespace)
    store.add_insult("a")
    since = store.version()
    with connect(redis_url) as client:
        client.delete(f"{namespace}:changes")
    assert store.changes(since).complete is False
