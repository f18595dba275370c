"""The insults of a store, what changed about them, and the ids of operations, in memory and in Redis."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lab.errors import Code, InvalidRequest, LabError
from lab.settings import settings
from lab.store import MemoryStore, Store
from lab.store.memory import KEPT_CHANGES
from lab.store.redis_store import connect
from tests.eventually import eventually
from tests.lab.conftest import Later, MakeStore, OpenRedis, OpenStore, run_machine

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


def test_every_insult_is_a_random_one_some_time(store: Store) -> None:
    wanted = {"a", "b", "c"}
    store.add_insults({*wanted, "aa"})
    store.remove_insult("aa")
    seen: set[str | None] = set()

    def all_seen() -> bool:
        seen.add(store.random_insult())
        return seen >= wanted

    eventually(all_seen, every=0.0)
    assert seen == wanted


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


MINUTE = 60.0
Operation = Callable[[Store, str], object]
OPERATIONS: dict[str, Operation] = {
    "add": lambda store, operation_id: store.add_insult("tonto", operation_id),
    "remove": lambda store, operation_id: store.remove_insult("bobo", operation_id),
    "start": lambda store, operation_id: store.set_broadcast(True, operation_id),
}
UNDO: dict[str, Callable[[Store], object]] = {
    "add": lambda store: store.remove_insult("tonto"),
    "remove": lambda store: store.add_insult("bobo"),
    "start": lambda store: store.set_broadcast(False),
}


def state(store: Store) -> tuple[list[str], bool, int]:
    return store.get_insults("", 100), store.broadcast_on(), store.waiting()


@pytest.fixture
def filled(store: Store) -> Store:
    """A store that holds "bobo"; each of the operations changes it."""
    store.add_insult("bobo")
    return store


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_repeated_operation_has_no_further_effect(filled: Store, name: str) -> None:
    before = state(filled)
    OPERATIONS[name](filled, "id")
    UNDO[name](filled)
    assert OPERATIONS[name](filled, "id") is True
    assert state(filled) == before


def test_the_same_id_on_another_kind_of_operation_is_another(store: Store) -> None:
    assert store.add_insult("tonto", "id") is True
    assert store.remove_insult("tonto", "id") is True
    assert store.set_broadcast(True, "id") is True
    assert store.set_broadcast(False, "id") is True
    store.submit("id", "a text")
    assert (store.waiting(), store.count_insults(), store.broadcast_on()) == (1, 0, False)


def test_a_repeated_operation_is_one_change(filled: Store) -> None:
    since = filled.version()
    for _ in range(3):
        filled.add_insult("tonto", "id 1")
        filled.remove_insult("bobo", "id 2")
    assert filled.changes(since).changes == [(True, "tonto"), (False, "bobo")]


def test_an_operation_repeated_by_many_at_once_has_its_effect_once(store: Store) -> None:
    since = store.version()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: store.add_insult("tonto", "id"), range(40)))
    assert answers == [True] * 40
    assert store.changes(since).changes == [(True, "tonto")]


def test_an_id_that_expired_and_comes_again_is_a_new_petition(store: Store, later: Later) -> None:
    """Results are kept for an hour, ids for 15 minutes: the old result must not answer the new petition."""
    store.submit("id", "the text")
    store.take(60.0)
    store.complete("id", "the result")
    later(16 * MINUTE)
    assert store.result("id") == "the result"
    store.submit("id", "another text")
    assert (store.result("id"), store.waiting(), list(store.get_results(10))) == (None, 1, [])
    taken = store.take(60.0)
    assert taken is not None
    assert store.complete("id", "another result", epoch=taken.epoch) is True
    assert (store.result("id"), len(store.get_results(10))) == ("another result", 1)


def test_a_result_from_a_queue_replaces_one_whose_id_expired(store: Store, later: Later) -> None:
    assert store.complete("id", "the result") is True
    assert store.complete("id", "the result") is False
    with pytest.raises(InvalidRequest, match="this id was used"):
        store.complete("id", "too early", "resolve")
    assert (store.result("id"), store.resolved("resolve")) == ("the result", None)
    later(16 * MINUTE)
    assert store.complete("id", "another result") is True
    assert list(store.get_results(10)) == [("id", "another result")]


def test_an_id_that_expired_while_its_text_waits_is_not_given_to_another_text(
    store: Store, later: Later
) -> None:
    store.submit("id", "the text")
    later(16 * MINUTE)
    with pytest.raises(InvalidRequest):
        store.submit("id", "another text")
    store.submit("id", "the text")
    taken = store.take(60.0)
    assert (taken and taken.text, store.take(60.0)) == ("the text", None)


def test_ids_are_remembered_for_15_minutes(store: Store, later: Later) -> None:
    store.add_insult("tonto", "id")
    store.remove_insult("tonto")
    later(14 * MINUTE)
    store.add_insult("tonto", "id")
    assert store.get_insults("", 10) == []


@pytest.mark.parametrize("name", OPERATIONS)
def test_ids_are_forgotten_after_15_minutes(filled: Store, later: Later, name: str) -> None:
    OPERATIONS[name](filled, "id")
    UNDO[name](filled)
    before = state(filled)
    later(16 * MINUTE)
    assert OPERATIONS[name](filled, "id") is True
    assert state(filled) != before


def test_the_setting_says_how_long_ids_are_remembered(
    make_store: MakeStore, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("memory", "redis_store"):
        monkeypatch.setattr(f"lab.store.{module}.settings", lambda: replace(settings(), id_ttl=60))
    store = make_store()
    store.add_insult("tonto", "id")
    store.remove_insult("tonto")
    later(1.1 * MINUTE)
    store.add_insult("tonto", "id")
    assert store.get_insults("", 10) == ["tonto"]
