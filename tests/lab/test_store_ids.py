"""Ids of operations in the stores: how long they count, and that no jump of the wall clock is believed."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness.faults.by_hand import WallClock, redis_under
from lab.contract import Application, Architecture
from lab.errors import Code, InvalidRequest
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.settings import settings
from lab.store import Store
from lab.store.redis_store import connect
from tests.eventually import eventually
from tests.lab.conftest import Later, MakeStore, OpenRedis, await_more, submitted

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
BODIES: dict[str, Callable[[Store, str], object]] = {
    "add": lambda store, body: store.add_insult(body, "id"),
    "remove": lambda store, body: store.remove_insult(body, "id"),
    "submit": lambda store, body: store.submit("id", body),
}
LEASE_SECONDS = 3600.0
OVER = 0.0
"""A lease that is over at once."""
ANA, BERT = "http://127.0.0.1:9001", "PYRO:bert@127.0.0.1:9002"


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


@pytest.mark.parametrize("name", OPERATIONS)
def test_that_an_operation_changed_nothing_is_remembered_too(filled: Store, name: str) -> None:
    OPERATIONS[name](filled, "")
    assert OPERATIONS[name](filled, "id") is False
    UNDO[name](filled)
    before = state(filled)
    assert OPERATIONS[name](filled, "id") is False
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


@pytest.mark.parametrize("name", BODIES)
def test_an_id_used_again_with_another_body_is_malformed_and_changes_nothing(
    filled: Store, name: str
) -> None:
    BODIES[name](filled, "tonto")
    before = state(filled)
    with pytest.raises(InvalidRequest, match="this id was used") as caught:
        BODIES[name](filled, "bobo")
    assert caught.value.code is Code.MALFORMED
    assert state(filled) == before


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


def test_a_subscriber_is_new_once(store: Store) -> None:
    assert store.add_subscriber(ANA, LEASE_SECONDS) is True
    assert store.add_subscriber(ANA, LEASE_SECONDS) is False
    assert store.subscribers() == [ANA]


def test_a_subscriber_whose_lease_is_over_is_dropped(store: Store) -> None:
    store.add_subscriber(ANA, OVER)
    store.add_subscriber(BERT, LEASE_SECONDS)
    assert store.subscribers() == [BERT]
    assert store.remove_subscriber(ANA) is False


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


def test_starting_the_broadcast_twice_is_answered(store: Store) -> None:
    assert [store.set_broadcast(True), store.set_broadcast(True)] == [True, False]
    assert store.broadcast_on() is True


def test_of_many_that_start_the_broadcast_one_did(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: store.set_broadcast(True), range(24)))
    assert sorted(answers) == [False] * 23 + [True]


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


HOUR = 3600
JUMPS = (-HOUR, HOUR)
TAKEN_OVER_SECONDS = 15.0


class Clock(NamedTuple):
    """A Redis and the switch of its clock."""

    url: str
    set: Callable[[int], None]


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Clock]:
    """A real Redis whose clock can be set back or forward, and whose nodes are not supervised."""
    if missing := WallClock.missing():
        pytest.skip(missing)
    wall_clock = WallClock(tmp_path)
    with redis_under(wall_clock) as redis:
        yield Clock(redis.url, wall_clock.set)


@pytest.fixture
def client(clock: Clock) -> Iterator[Any]:
    with connect(clock.url) as client:
        yield client


def start(name: str, application: Application, clock: Clock, *options: str, nodes: int = 2) -> System:
    spec = SystemSpec(name, application, Architecture.N_NODE, nodes, node_arguments=options, interval="300ms")
    return System(spec, BrokerUrls(redis=clock.url))


@pytest.mark.parametrize("name", ["redis_impl", "xmlrpc", "pyro4"])
def test_all_that_was_accepted_is_done_although_the_clock_jumped_and_a_node_died(
    clock: Clock, client: Any, name: str
) -> None:
    with start(name, Application.FILTER, clock, "--work-time", "10ms") as system:
        with submitted(system) as accepted:
            for seconds in JUMPS:
                await_more(accepted)
                system.add_node()
                dying = next(filter(system.launcher.alive, system.nodes))
                system.launcher.kill(dying)
                clock.set(seconds)
            await_more(accepted)
        results = f"{system.namespace}:results"
        eventually(lambda: client.hgetall(results) == accepted, within=TAKEN_OVER_SECONDS)
        assert not client.keys(f"{system.namespace}:*dead")
        for node in filter(system.launcher.alive, system.nodes):
            assert "was taken over" not in system.launcher.logs(node)
            assert "another node took it over" not in system.launcher.logs(node)


def test_every_call_is_answered_after_the_clock_jumped_and_a_node_died(clock: Clock) -> None:
    with start("redis_impl", Application.FILTER, clock) as system, system.filter(15.0) as filter_client:
        for seconds in JUMPS:
            filter_client.filter("tonto")
            dying, other = filter(system.launcher.alive, system.nodes)
            system.launcher.kill(dying)
            clock.set(seconds)
            for _ in range(30):
                assert filter_client.filter("tonto") == "CENSORED"
            system.launcher.kill(other)
            system.add_node()
            system.add_node()
            for _ in range(20):
                assert filter_client.filter("tonto") == "CENSORED"


def test_a_dead_broadcaster_is_replaced_after_the_clock_jumped(clock: Clock) -> None:
    with start("redis_impl", Application.SERVICE, clock, nodes=1) as system, system.service() as service:
        service.add_insult("tonto")
        with service.subscribe() as subscription:
            service.start_broadcast()
            first = subscription.receive(10.0)
            assert first
            for seconds in JUMPS:
                system.launcher.kill(system.handles["broadcaster"][-1])
                clock.set(seconds)
                system.start(next(role for role in system._roles() if role.name == "broadcaster"))
                last = _drained(subscription.receive, first.number)
                first = subscription.receive(TAKEN_OVER_SECONDS)
                assert first
                assert first.number == last + 1


def _drained(receive: Callable[[float], Any], last: int) -> int:
    """Take what came before, and return the number of the last of it."""
    while tick := receive(0.0):
        last = tick.number
    return last
