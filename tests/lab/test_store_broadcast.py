"""Subscribers and the state of the broadcast in a store, the same in memory and in Redis."""

from concurrent.futures import ThreadPoolExecutor

from lab.store import Store
from lab.store.redis_store import connect
from tests.lab.conftest import Later, OpenRedis

LEASE_SECONDS = 3600.0
OVER = 0.0
"""A lease that is over at once."""
ANA, BERT = "http://127.0.0.1:9001", "PYRO:bert@127.0.0.1:9002"


def test_at_first_nobody_is_subscribed(store: Store) -> None:
    assert store.subscribers() == []


def test_a_subscriber_is_new_once(store: Store) -> None:
    assert store.add_subscriber(ANA, LEASE_SECONDS) is True
    assert store.add_subscriber(ANA, LEASE_SECONDS) is False
    assert store.subscribers() == [ANA]


def test_every_subscriber_is_listed(store: Store) -> None:
    store.add_subscriber(ANA, LEASE_SECONDS)
    store.add_subscriber(BERT, LEASE_SECONDS)
    assert sorted(store.subscribers()) == sorted([ANA, BERT])


def test_a_subscriber_that_left_is_listed_no_more(store: Store) -> None:
    store.add_subscriber(ANA, LEASE_SECONDS)
    store.add_subscriber(BERT, LEASE_SECONDS)
    assert store.remove_subscriber(ANA) is True
    assert store.subscribers() == [BERT]


def test_one_that_was_not_there_cannot_leave(store: Store) -> None:
    assert store.remove_subscriber(ANA) is False


def test_a_subscriber_whose_lease_is_over_is_dropped(store: Store) -> None:
    store.add_subscriber(ANA, OVER)
    store.add_subscriber(BERT, LEASE_SECONDS)
    assert store.subscribers() == [BERT]
    assert store.remove_subscriber(ANA) is False


def test_a_subscriber_whose_lease_was_over_is_new_again(store: Store) -> None:
    store.add_subscriber(ANA, OVER)
    assert store.add_subscriber(ANA, LEASE_SECONDS) is True


def test_a_renewal_replaces_the_lease(store: Store) -> None:
    store.add_subscriber(ANA, LEASE_SECONDS)
    store.add_subscriber(ANA, OVER)
    store.add_subscriber(BERT, OVER)
    store.add_subscriber(BERT, LEASE_SECONDS)
    assert store.subscribers() == [BERT]


def test_a_subscriber_that_renews_in_time_stays(store: Store, later: Later) -> None:
    store.add_subscriber(ANA, LEASE_SECONDS)
    store.add_subscriber(BERT, LEASE_SECONDS)
    later(0.6 * LEASE_SECONDS)
    assert store.add_subscriber(ANA, LEASE_SECONDS) is False
    later(0.6 * LEASE_SECONDS)
    assert store.subscribers() == [ANA]


def test_the_broadcast_is_off_at_first(store: Store) -> None:
    assert store.broadcast_on() is False


def test_starting_the_broadcast_twice_is_answered(store: Store) -> None:
    assert [store.set_broadcast(True), store.set_broadcast(True)] == [True, False]
    assert store.broadcast_on() is True


def test_stopping_the_broadcast_twice_is_answered(store: Store) -> None:
    store.set_broadcast(True)
    assert [store.set_broadcast(False), store.set_broadcast(False)] == [True, False]
    assert store.broadcast_on() is False


def test_a_broadcast_that_never_ran_was_off(store: Store) -> None:
    assert store.set_broadcast(False) is False


def test_of_many_that_start_the_broadcast_one_did(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: store.set_broadcast(True), range(24)))
    assert sorted(answers) == [False] * 23 + [True]


def test_ticks_are_numbered_from_1(store: Store) -> None:
    assert [store.next_tick() for _ in range(3)] == [1, 2, 3]


def test_the_numbers_go_on_after_their_counter_was_deleted_by_hand(
    open_redis: OpenRedis, redis_url: str, namespace: str
) -> None:
    store = open_redis(namespace)
    assert [store.next_tick() for _ in range(3)] == [1, 2, 3]
    with connect(redis_url) as client:
        client.delete(f"{namespace}:ticks")
    assert [store.next_tick() for _ in range(2)] == [4, 5]


def test_stopping_the_broadcast_does_not_number_its_ticks_anew(store: Store) -> None:
    store.next_tick()
    store.set_broadcast(True)
    store.set_broadcast(False)
    assert store.next_tick() == 2


def test_no_number_of_a_tick_is_given_twice(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(lambda _: store.next_tick(), range(40)))
    assert sorted(numbers) == list(range(1, 41))


def test_a_store_that_is_there_answers(store: Store) -> None:
    assert store.ping() is None  # type: ignore[func-returns-value]
