"""The clock of Redis is set back or forward by an hour: what is stored is not believed unchecked."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from lab.contract import Result
from lab.store import Hold
from lab.store.redis_store import RedisStore, connect
from tests.eventually import eventually
from tests.lab.conftest import OpenRedis, age

HOUR = 3600.0
LEASE_SECONDS = 1.0
ANA = "http://127.0.0.1:9001"
Jump = Callable[[float], None]


@pytest.fixture
def redis_store(open_redis: OpenRedis, namespace: str) -> RedisStore:
    return open_redis(namespace)


@pytest.fixture
def jump(redis_url: str, namespace: str) -> Jump:
    """Let the clock of Redis jump so many seconds: what is stored is that much older, or of the future."""

    def shift(seconds: float) -> None:
        with connect(redis_url) as connection:
            client: Any = connection
            for key in client.scan_iter(f"{namespace}:*"):
                if client.type(key) == "zset" and not key.endswith((":insults", ":owned")):
                    for member in client.zrange(key, 0, -1):
                        client.zincrby(key, -seconds, member)
                elif key.endswith((":heard", ":at")):
                    at, *more = client.get(key).split()
                    client.set(key, " ".join([str(float(at) - seconds), *more]))
                elif (left := client.pttl(key)) > 0:
                    client.pexpire(key, left - int(1000 * seconds))

    return shift


def test_a_dead_nodes_text_waits_no_longer_after_the_clock_was_set_back(
    redis_store: RedisStore, jump: Jump
) -> None:
    redis_store.submit("a", "text")
    redis_store.take(LEASE_SECONDS, "dead")
    jump(-HOUR)
    assert redis_store.take(LEASE_SECONDS) is None
    taken = eventually(lambda: redis_store.take(LEASE_SECONDS, "alive"))
    assert taken
    assert taken.petition_id == "a"


def test_a_lease_of_another_length_ends_at_now_and_its_own_length(
    redis_store: RedisStore, jump: Jump
) -> None:
    redis_store.submit("a", "text")
    redis_store.take(2 * LEASE_SECONDS, "dead")
    jump(-HOUR)
    assert redis_store.take(60.0) is None
    assert eventually(lambda: redis_store.take(60.0))


def test_nobody_alive_loses_a_text_when_the_clock_is_set_forward(redis_store: RedisStore, jump: Jump) -> None:
    redis_store.submit("a", "text")
    held = redis_store.take(LEASE_SECONDS, "alive")
    assert held
    jump(HOUR)
    assert redis_store.take(LEASE_SECONDS, "other") is None
    assert redis_store.renew("a", held.epoch, LEASE_SECONDS)
    assert redis_store.complete("a", "result", epoch=held.epoch)


def test_a_dead_nodes_text_is_taken_over_after_the_clock_was_set_forward(
    redis_store: RedisStore, jump: Jump
) -> None:
    redis_store.submit("a", "text")
    redis_store.take(LEASE_SECONDS, "dead")
    jump(HOUR)
    assert eventually(lambda: redis_store.take(LEASE_SECONDS, "other"))


def test_a_dead_nodes_text_is_taken_over_by_those_who_ask_seldom(redis_store: RedisStore) -> None:
    """A long silence spares a lease once, not for ever."""
    redis_store.submit("a", "text")
    redis_store.take(0.1, "dead")
    found = []
    for _ in range(3):
        time.sleep(1.0)  # not before an assertion: nobody asks meanwhile
        found.append(redis_store.take(0.1))
    assert [bool(text) for text in found][:2] == [False, True]


def test_a_dead_broadcasters_hold_ends_after_the_clock_was_set_back(
    redis_store: RedisStore, jump: Jump
) -> None:
    assert redis_store.hold_broadcast("dead", LEASE_SECONDS)
    jump(-HOUR)
    assert redis_store.hold_broadcast("alive", LEASE_SECONDS) is None
    hold = eventually(lambda: redis_store.hold_broadcast("alive", LEASE_SECONDS))
    assert hold
    assert redis_store.next_tick(hold.epoch) == 1


def test_who_broadcasts_goes_on_after_the_clock_was_set_forward(redis_store: RedisStore, jump: Jump) -> None:
    hold = redis_store.hold_broadcast("alive", LEASE_SECONDS)
    assert hold == Hold(hold.epoch if hold else 0, None)
    jump(HOUR)
    assert redis_store.next_tick(hold.epoch) == 1
    assert redis_store.hold_broadcast("other", LEASE_SECONDS) is None
    held = redis_store.hold_broadcast("alive", LEASE_SECONDS)
    assert held
    assert held.epoch == hold.epoch


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
def test_the_last_tick_is_never_in_the_future(redis_store: RedisStore, jump: Jump, seconds: float) -> None:
    redis_store.next_tick()
    jump(seconds)
    hold = redis_store.hold_broadcast("owner", LEASE_SECONDS)
    assert hold
    assert hold.ticked_ago is not None
    assert hold.ticked_ago >= 0


def test_a_silent_subscriber_is_dropped_after_the_clock_was_set_back(
    redis_store: RedisStore, jump: Jump
) -> None:
    redis_store.add_subscriber(ANA, LEASE_SECONDS)
    jump(-HOUR)
    eventually(lambda: redis_store.subscribers() == [])


def test_no_subscriber_is_dropped_when_the_clock_is_set_forward(redis_store: RedisStore, jump: Jump) -> None:
    redis_store.add_subscriber(ANA, LEASE_SECONDS)
    jump(HOUR)
    assert redis_store.subscribers() == [ANA]
    assert redis_store.add_subscriber(ANA, LEASE_SECONDS) is False


def test_results_keep_their_order_and_their_hour_after_the_clock_was_set_back(
    redis_store: RedisStore, jump: Jump, redis_url: str, namespace: str
) -> None:
    for number in range(3):
        redis_store.complete(f"before-{number}", "text")
    jump(-HOUR)
    redis_store.complete("after", "text")
    assert [result.petition_id for result in redis_store.get_results(10)] == [
        "after",
        "before-2",
        "before-1",
        "before-0",
    ]
    age(redis_url, namespace, 0.9 * HOUR)
    assert redis_store.result("before-0") == "text"
    age(redis_url, namespace, 0.2 * HOUR)
    assert (redis_store.result("before-0"), redis_store.get_results(10)) == (None, [])


def test_no_result_is_forgotten_when_the_clock_is_set_forward(redis_store: RedisStore, jump: Jump) -> None:
    redis_store.complete("before", "text")
    jump(HOUR)
    redis_store.complete("after", "text")
    assert redis_store.result("before") == "text"
    assert [result.petition_id for result in redis_store.get_results(10)] == ["after", "before"]


@pytest.mark.parametrize("kind", ["add", "submit", "resolve"])
def test_an_id_lives_no_longer_than_its_length_after_the_clock_was_set_back(
    redis_store: RedisStore, jump: Jump, redis_url: str, namespace: str, kind: str
) -> None:
    def use() -> None:
        if kind == "add":
            redis_store.add_insult("tonto", "id")
        elif kind == "submit":
            redis_store.submit("id", "text")
        else:
            redis_store.take_for("id", LEASE_SECONDS)

    use()
    jump(-HOUR)
    use()
    with connect(redis_url) as client:
        assert 0 < client.ttl(f"{namespace}:op:{kind}:id") <= 900


def test_a_resolve_is_answered_from_the_result_after_the_clock_was_set_back(
    redis_store: RedisStore, jump: Jump
) -> None:
    redis_store.submit("a", "text")
    taken = redis_store.take_for("id", LEASE_SECONDS)
    redis_store.complete("a", "result")
    jump(-HOUR)
    assert taken
    assert redis_store.take_for("id", LEASE_SECONDS) == Result("a", "result")
