"""A filter node that follows the insults of a store, whatever happens to them meanwhile."""

import random

import pytest

from lab.applications.censor import Censor
from lab.applications.filter import Follower
from lab.errors import Unavailable
from lab.store import MemoryStore, Store
from lab.store.memory import KEPT_CHANGES
from tests.lab.conftest import OpenRedis


class Node:
    """A censor that follows a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.censor = Censor()
        self.follower = Follower(store, self.censor)

    def censors(self, *insults: str) -> bool:
        """Tell whether it censors these insults and no other."""
        found = [insult for insult in insults if self.censor.censor(insult) == "CENSORED"]
        return len(found) == len(insults) == len(self.censor)


@pytest.fixture
def node(store: Store) -> Node:
    """A node that has read the insult "bobo" of its store."""
    store.add_insult("bobo")
    node = Node(store)
    node.follower.load()
    return node


def test_a_node_reads_every_insult_of_its_store(store: Store) -> None:
    insults = [f"insult {number}" for number in range(2_500)]
    store.add_insults(insults)
    node = Node(store)
    node.follower.load()
    assert node.censors(*insults)


def test_what_is_added_is_censored(node: Node) -> None:
    node.store.add_insult("tonto")
    node.follower.follow()
    assert node.censors("bobo", "tonto")


def test_what_is_removed_is_censored_no_more(node: Node) -> None:
    node.store.remove_insult("bobo")
    node.follower.follow()
    assert node.censors()


def test_what_somebody_deleted_in_the_store_is_censored_no_more(
    open_redis: OpenRedis, namespace: str
) -> None:
    store = open_redis(namespace)
    store.add_insult("bobo")
    node = Node(store)
    node.follower.load()
    store._redis.delete(f"{namespace}:insults")
    for _ in range(2):
        node.follower.follow()
    assert node.censors()


def test_what_is_added_and_removed_and_added_is_censored(node: Node) -> None:
    node.store.add_insult("tonto")
    node.store.remove_insult("tonto")
    node.store.add_insult("tonto")
    node.follower.follow()
    assert node.censors("bobo", "tonto")


def test_insults_that_are_added_all_at_once_are_censored(node: Node) -> None:
    node.store.add_insults(["tonto", "feo"])
    node.follower.follow()
    node.store.remove_insult("feo")
    node.follower.follow()
    assert node.censors("bobo", "tonto")


def test_when_nothing_changes_nothing_changes(node: Node) -> None:
    for _ in range(3):
        node.follower.follow()
    assert node.censors("bobo")


def test_a_change_between_asking_the_version_and_reading_all_is_not_missed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_insult("bobo")
    node, get_insults = Node(store), store.get_insults

    def change_and_get(after: str, limit: int) -> list[str]:
        page = get_insults(after, limit)
        store.remove_insult("bobo")
        store.add_insult("tonto")
        return page if not after else []

    monkeypatch.setattr(store, "get_insults", change_and_get)
    node.follower.load()
    node.follower.follow()
    assert node.censors("tonto")


def test_a_node_that_follows_random_changes_ends_equal_to_its_store(node: Node) -> None:
    choose = random.Random(1)
    insults = ["a", "a b", "b", "tonto", "Tonto"]
    for _ in range(300):
        change = choose.choice([node.store.add_insult, node.store.remove_insult])
        change(choose.choice(insults))
        if choose.random() < 0.3:
            node.follower.follow()
    node.follower.follow()
    stored = node.store.get_insults("", 100)
    assert node.censors(*stored)


def test_a_node_that_was_away_for_too_many_changes_reads_all_again() -> None:
    node = Node(MemoryStore())
    node.store.add_insults(["bobo", "tonto"])
    node.follower.load()
    node.store.remove_insult("bobo")
    for _ in range(KEPT_CHANGES):
        node.store.add_insult("x")
        node.store.remove_insult("x")
    node.follower.follow()
    assert node.censors("tonto")


def test_a_store_that_is_away_for_a_while_loses_no_change(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(since: str) -> None:
        raise Unavailable("the store is away")

    node.store.add_insult("tonto")
    with monkeypatch.context() as away:
        away.setattr(node.store, "changes", unavailable)
        with pytest.raises(Unavailable):
            node.follower.follow()
    node.follower.follow()
    assert node.censors("bobo", "tonto")
