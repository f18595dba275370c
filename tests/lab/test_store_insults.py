"""The insults of a store and what changed about them, the same in memory and in Redis."""

import random
from collections.abc import Callable
from itertools import chain

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lab.errors import Code, LabError
from lab.store import MemoryStore, Store
from lab.store.memory import KEPT_CHANGES
from lab.store.redis_store import connect
from tests.eventually import eventually
from tests.lab.conftest import OpenRedis, OpenStore, run_machine

SORTED = ["Z", "a", "a b", "ab", "z", "é", "\ue000", "\uffff", "\U00010000", "😀"]
STRANGE = ["-", "+", "(a", "[a", "*", "a:b", "{a}", '"', "\\n", "0", "None", "喂 喂"]
NAMES = st.sampled_from(["a", "A", "b", "b c", "é", "喂", "\U0001f600"])
IDS = st.sampled_from(["", "", "1", "2", "3"])


def all_pages(store: Store, limit: int) -> list[list[str]]:
    """Return the pages of all insults."""
    pages, after = [], ""
    while page := store.get_insults(after, limit):
        assert page[0] > after, "the page begins where the one before did"
        pages.append(page)
        after = page[-1]
    return pages


def test_adding_many_counts_those_that_are_new(store: Store) -> None:
    store.add_insult("b")
    assert store.add_insults(iter(["a", "b", "c", "a"])) == 2
    assert store.get_insults("", 10) == ["a", "b", "c"]


def test_more_insults_than_are_sent_at_once_are_all_added(store: Store) -> None:
    wanted = [f"{number:05}" for number in range(12_000)]
    assert store.add_insults(wanted) == len(wanted)
    assert list(chain(*all_pages(store, 1000))) == wanted


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


def test_every_insult_is_a_random_one_some_time(store: Store) -> None:
    wanted = {"a", "b", "c"}
    store.add_insults(wanted)
    seen: set[str | None] = set()

    def all_seen() -> bool:
        seen.add(store.random_insult())
        return seen >= wanted

    eventually(all_seen, every=0.0)
    assert seen == wanted


def test_a_follower_is_told_each_change_once(store: Store) -> None:
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


def test_a_follower_hears_of_insults_that_were_added_all_at_once(store: Store) -> None:
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


class InsultsAreASet(RuleBasedStateMachine):
    """Insults against a set; the answers to operations against those that their ids got first."""

    def __init__(self, open_store: OpenStore) -> None:
        super().__init__()
        self.store, self.end = open_store()
        self.model: set[str] = set()
        self.answers: dict[tuple[str, str], tuple[bool, str]] = {}
        self.since = self.store.version()
        self.followed: set[str] = set()

    def teardown(self) -> None:
        self.end()

    def once(self, kind: str, operation_id: str, insult: str, effect: Callable[[], bool]) -> bool | Code:
        """Return what the model says to an operation."""
        if not operation_id:
            return effect()
        if (kind, operation_id) not in self.answers:
            self.answers[kind, operation_id] = effect(), insult
        answer, body = self.answers[kind, operation_id]
        return answer if body == insult else Code.MALFORMED

    @rule(insult=NAMES, operation_id=IDS)
    def add(self, insult: str, operation_id: str) -> None:
        def effect() -> bool:
            new = insult not in self.model
            self.model.add(insult)
            return new

        answer = _answer(lambda: self.store.add_insult(insult, operation_id))
        assert answer is self.once("add", operation_id, insult, effect)

    @rule(insult=NAMES, operation_id=IDS)
    def remove(self, insult: str, operation_id: str) -> None:
        def effect() -> bool:
            was_there = insult in self.model
            self.model.discard(insult)
            return was_there

        answer = _answer(lambda: self.store.remove_insult(insult, operation_id))
        assert answer is self.once("remove", operation_id, insult, effect)

    @rule(after=NAMES, limit=st.integers(1, 4))
    def page(self, after: str, limit: int) -> None:
        wanted = [insult for insult in sorted(self.model) if insult > after][:limit]
        assert self.store.get_insults(after, limit) == wanted

    @rule()
    def random(self) -> None:
        insult = self.store.random_insult()
        assert insult in self.model if self.model else insult is None

    @rule()
    def follow(self) -> None:
        """A node that follows the changes has the same insults in the end."""
        changes = self.store.changes(self.since)
        assert changes.complete
        for added, insult in changes.changes:
            (self.followed.add if added else self.followed.discard)(insult)
        self.since = changes.version
        assert self.followed == self.model

    @invariant()
    def list(self) -> None:
        assert self.store.get_insults("", 100) == sorted(self.model)
        assert self.store.count_insults() == len(self.model)


def _answer(call: Callable[[], bool]) -> bool | Code:
    try:
        return call()
    except LabError as error:
        return Code(error.code)


def test_no_sequence_of_calls_tells_the_insults_from_a_set(open_store: OpenStore, store_kind: str) -> None:
    run_machine(lambda: InsultsAreASet(open_store), examples=100 if store_kind == "memory" else 20)
