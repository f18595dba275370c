"""The entry list of n nodes, used by clients without our code: served at once, and nothing on it is lost."""

import json
import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
import redis

from lab.contract import Application
from lab.process.system import System
from tests.eventually import eventually
from tests.redis_impl.private import cluster_on, connected

PETITIONS = 100
DEADLINE_SECONDS = 5.0
"""A node that looks at the entry list only every 0.1 s needs 10 s for them."""


@pytest.fixture
def store(redis_url: str) -> Iterator["redis.Redis"]:
    with connected(redis_url) as client:
        yield client


def ask(store: "redis.Redis", system: System, text: str) -> str:
    """Push a text to the entry list as any client may, and wait for its reply."""
    reply_to = f"{system.namespace}:reply:{uuid4().hex}"
    petition = {"operation": "X1", "data": text, "reply_to": reply_to}
    store.rpush(f"{system.namespace}:filter", json.dumps(petition))
    answer = store.blpop([reply_to], timeout=10)
    assert answer
    return str(json.loads(answer[1])["answer"])


def test_petitions_one_after_the_other_are_served_at_once_by_idle_nodes(
    redis_url: str, store: "redis.Redis"
) -> None:
    with cluster_on(redis_url, Application.FILTER, 3) as system:
        started = time.monotonic()
        for number in range(PETITIONS):
            assert ask(store, system, f"{number} tonto") == f"{number} CENSORED"
        took = time.monotonic() - started
    print(f"{1000 * took / PETITIONS:.2f} ms each")
    assert took < DEADLINE_SECONDS


def test_a_petition_goes_to_an_idle_node_not_to_one_that_is_occupied(
    redis_url: str, store: "redis.Redis"
) -> None:
    """Each text takes a second. Two at a time are done by two nodes, never by one after the other."""
    with cluster_on(redis_url, Application.FILTER, 2, "--work-time", "1s") as system:
        eventually(lambda: len(store.zrange(f"{system.namespace}:filter:nodes", 0, -1)) == 2)
        for _ in range(3):
            replies = [f"{system.namespace}:reply:{uuid4().hex}" for _ in range(2)]
            started = time.monotonic()
            for reply_to in replies:
                petition = {"operation": "X1", "data": "tonto", "reply_to": reply_to}
                store.rpush(f"{system.namespace}:filter", json.dumps(petition))
            for reply_to in replies:
                assert store.blpop([reply_to], timeout=10)
            assert time.monotonic() - started < 1.9


def test_what_waits_on_the_entry_list_survives_nodes_that_are_killed_or_stop_while_they_wait_there(
    redis_url: str, store: "redis.Redis"
) -> None:
    with cluster_on(redis_url, Application.FILTER, 3) as system:
        sent = 0
        killed, stopped = system.nodes[:2]
        ends: list[Callable[[], object]] = [
            lambda: system.launcher.kill(killed),
            lambda: system.launcher.stop(stopped),
        ]
        for end in ends:
            for number in range(50):
                sent += 1
                petition = {"operation": "X1", "data": f"{sent} tonto", "id": str(sent)}
                store.rpush(f"{system.namespace}:filter", json.dumps(petition))
                if number == 25:
                    end()
        results = f"{system.namespace}:results"
        eventually(lambda: store.hlen(results) == sent, within=15.0)
        assert store.hgetall(results) == {str(number): f"{number} CENSORED" for number in range(1, sent + 1)}
