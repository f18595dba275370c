"""What only the store in Redis has: it can be shared, be away, and keeps to its namespace."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

from lab.addresses import free_port
from lab.contract import Result
from lab.errors import Unavailable
from lab.store import MemoryStore, Store, open_store
from lab.store.namespace import delete_namespace, is_throwaway, throwaway_namespace, throwaway_namespaces
from lab.store.redis_store import RedisStore, connect
from tests.lab.conftest import OpenRedis

CALLS: dict[str, Callable[[Store], object]] = {
    "add_insult": lambda store: store.add_insult("tonto"),
    "add_insult with an id": lambda store: store.add_insult("tonto", "id"),
    "add_insults": lambda store: store.add_insults(["tonto"]),
    "remove_insult": lambda store: store.remove_insult("tonto"),
    "get_insults": lambda store: store.get_insults("", 10),
    "random_insult": lambda store: store.random_insult(),
    "count_insults": lambda store: store.count_insults(),
    "version": lambda store: store.version(),
    "changes": lambda store: store.changes("0-0"),
    "add_subscriber": lambda store: store.add_subscriber("http://host", 30.0),
    "remove_subscriber": lambda store: store.remove_subscriber("http://host"),
    "subscribers": lambda store: store.subscribers(),
    "set_broadcast": lambda store: store.set_broadcast(True),
    "broadcast_on": lambda store: store.broadcast_on(),
    "next_tick": lambda store: store.next_tick(),
    "hold_broadcast": lambda store: store.hold_broadcast("owner", 3.0),
    "leave_broadcast": lambda store: store.leave_broadcast("another"),
    "submit": lambda store: store.submit("petition", "text"),
    "take": lambda store: store.take(3.0),
    "take_for": lambda store: store.take_for("id", 3.0),
    "renew": lambda store: store.renew("petition", 1, 3.0),
    "release": lambda store: store.release("owner"),
    "complete": lambda store: store.complete("petition", "text"),
    "fenced": lambda store: store.fenced(),
    "dead_letters": lambda store: store.dead_letters(10),
    "result": lambda store: store.result("petition"),
    "get_results": lambda store: store.get_results(10),
    "resolved": lambda store: store.resolved("id"),
    "waiting": lambda store: store.waiting(),
    "ping": lambda store: store.ping(),
}


@pytest.fixture
def other_namespace(redis_url: str) -> Iterator[str]:
    """A second throw-away namespace."""
    name = throwaway_namespace()
    yield name
    delete_namespace(redis_url, name)


def fill(store: Store) -> None:
    """Let every kind of key be there."""
    for call in CALLS.values():
        call(store)
    store.submit("waits", "text")
    store.complete("resolved", "text", "id")


@pytest.mark.parametrize("name", CALLS)
def test_a_redis_that_is_away_is_unavailable(name: str) -> None:
    store = RedisStore(f"redis://127.0.0.1:{free_port()}/0", "lab-00000000", timeout_seconds=5.0)
    with pytest.raises(Unavailable) as caught:
        CALLS[name](store)
    assert "is it running?" in caught.value.message


def test_every_operation_of_a_store_is_tried_while_redis_is_away() -> None:
    operations = {name for name in dir(Store) if not name.startswith("_")} - {"close"}
    assert {name.partition(" ")[0] for name in CALLS} == operations


def test_a_store_works_again_after_it_was_closed(open_redis: OpenRedis, namespace: str) -> None:
    store = open_redis(namespace)
    store.add_insult("tonto")
    store.close()
    store.close()
    assert store.get_insults("", 10) == ["tonto"]
    store.close()


def test_nodes_share_one_state(open_redis: OpenRedis, namespace: str) -> None:
    ana, bert = open_redis(namespace), open_redis(namespace)
    since = bert.version()
    ana.add_insult("tonto")
    ana.submit("petition", "text")
    ana.set_broadcast(True)
    taken = bert.take(60.0)
    bert.complete("petition", "result", "id")
    assert taken is not None
    assert taken[:2] == ("petition", "text")
    assert (bert.changes(since).changes, bert.broadcast_on()) == ([(True, "tonto")], True)
    assert (ana.result("petition"), ana.resolved("id")) == ("result", Result("petition", "result"))


def test_an_operation_repeated_at_another_node_has_its_effect_once(
    open_redis: OpenRedis, namespace: str
) -> None:
    ana, bert = open_redis(namespace), open_redis(namespace)
    assert ana.add_insult("tonto", "id") is True
    ana.remove_insult("tonto")
    assert bert.add_insult("tonto", "id") is True
    assert ana.get_insults("", 10) == []


def test_namespaces_share_nothing(open_redis: OpenRedis, namespace: str, other_namespace: str) -> None:
    fill(open_redis(namespace))
    other = open_redis(other_namespace)
    assert (other.count_insults(), other.subscribers(), other.broadcast_on()) == (0, [], False)
    assert (other.waiting(), other.get_results(10), other.next_tick()) == (0, [], 1)
    assert other.add_insult("tonto", "id") is True


def test_deleting_a_namespace_leaves_nothing_of_it(
    redis_url: str, open_redis: OpenRedis, namespace: str
) -> None:
    fill(open_redis(namespace))
    deleted = delete_namespace(redis_url, namespace)
    with connect(redis_url) as client:
        assert list(client.scan_iter(f"{namespace}*")) == []
    assert deleted >= 10
    assert delete_namespace(redis_url, namespace) == 0


def test_deleting_a_namespace_leaves_the_others(
    redis_url: str, open_redis: OpenRedis, namespace: str
) -> None:
    longer = f"{namespace}0"
    store = open_redis(longer)
    store.add_insult("tonto")
    delete_namespace(redis_url, namespace)
    left = store.get_insults("", 10)
    delete_namespace(redis_url, longer)
    assert left == ["tonto"]


def test_deleting_a_namespace_of_many_keys_deletes_all(redis_url: str, namespace: str) -> None:
    with connect(redis_url) as client:
        client.mset({f"{namespace}:{number}": "x" for number in range(2_500)})
    assert delete_namespace(redis_url, namespace) == 2_500


def test_throwaway_namespaces_that_have_keys_are_listed(
    redis_url: str, open_redis: OpenRedis, namespace: str, other_namespace: str
) -> None:
    open_redis(namespace).add_insult("tonto")
    listed = throwaway_namespaces(redis_url)
    assert namespace in listed
    assert other_namespace not in listed
    assert all(map(is_throwaway, listed))


@pytest.mark.parametrize(
    "name", ["insults", "lab-", "lab-1234567", "lab-123456789", "lab-1234567g", "xlab-12345678"]
)
def test_what_is_not_a_throwaway_namespace_is_never_taken_for_one(name: str) -> None:
    assert not is_throwaway(name)


def test_a_made_namespace_is_throwaway_and_new() -> None:
    made = {throwaway_namespace() for _ in range(100)}
    assert len(made) == 100
    assert all(map(is_throwaway, made))


def test_without_a_url_the_state_is_in_memory() -> None:
    assert isinstance(open_store("", "lab-00000000"), MemoryStore)


def test_with_a_url_the_state_is_in_redis(redis_url: str, open_redis: OpenRedis, namespace: str) -> None:
    open_store(redis_url, namespace).add_insult("tonto")
    assert open_redis(namespace).get_insults("", 10) == ["tonto"]


def test_no_result_comes_twice_in_a_page_while_others_finish(open_redis: OpenRedis, namespace: str) -> None:
    reader, writer = open_redis(namespace), open_redis(namespace)
    numbers = iter(range(3000))
    for number in islice(numbers, 1000):
        writer.complete(f"early {number}", "text")

    def write() -> None:
        for number in numbers:
            writer.complete(f"late {number}", "text")

    with ThreadPoolExecutor(1) as others:
        writing = others.submit(write)
        while not writing.done():
            ids = [result.petition_id for result in reader.get_results(1000)]
            assert len(ids) == len(set(ids))
        writing.result()
