"""Keys deleted by hand, nodes started twice, the clock of Redis set back: every node serves on."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from lab.contract import Application, Architecture
from lab.errors import LabError
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.store.redis_store import connect
from tests.eventually import eventually
from tests.redis_impl.private import cluster_on

SERVES_AGAIN_SECONDS = 10.0
HOUR = 3600.0


@pytest.fixture
def store(redis_url: str) -> Iterator[Any]:
    with connect(redis_url) as client:
        yield client


def one_node(url: str, application: Application, namespace: str = "") -> System:
    spec = SystemSpec(
        "redis_impl", application, Architecture.ONE_NODE, 1, interval="200ms", namespace=namespace
    )
    return System(spec, BrokerUrls(redis=url))


def serves(system: System) -> bool:
    with system.filter(deadline_seconds=5.0) as client:
        try:
            assert list(client.filter_many(["tonto"] * 20)) == ["CENSORED"] * 20
            return bool(client.result(client.submit("tonto"), 5.0) == "CENSORED")
        except LabError:
            return False


def test_everyone_serves_again_after_any_key_was_deleted_by_hand_under_load(
    redis_url: str, store: Any
) -> None:
    is_over = threading.Event()
    answers: list[str] = []

    def send(system: System) -> None:
        with system.filter(deadline_seconds=2.0) as client:
            while not is_over.is_set():
                try:
                    answers.append(client.filter("tonto"))
                    client.submit("tonto")
                except LabError as error:
                    answers.append(error.code)

    with cluster_on(redis_url, Application.FILTER, 3) as system:
        sending = threading.Thread(target=send, args=(system,))
        sending.start()
        try:
            eventually(lambda: len(answers) > 50)
            names = {str(key) for key in store.scan_iter(f"{system.namespace}:*")}
            names |= {f"{system.namespace}:{name}" for name in ("identifiers", "filter:pulsed", "filter")}
            kept = {f"{system.namespace}:insults"}  # what is censored would be deleted by hand as well
            for name in sorted(names - kept):
                store.delete(name)
                eventually(lambda: serves(system), within=SERVES_AGAIN_SECONDS)
            everything = [key for key in store.scan_iter(f"{system.namespace}:*") if key not in kept]
            store.delete(*everything)
            eventually(lambda: serves(system), within=SERVES_AGAIN_SECONDS)
        finally:
            is_over.set()
            sending.join()
        assert all(map(system.launcher.alive, system.nodes))
        assert set(answers) <= {"CENSORED", "DEADLINE_EXCEEDED", "UNAVAILABLE"}


def test_a_node_that_enters_after_the_counter_was_deleted_takes_nobodys_name(
    redis_url: str, store: Any
) -> None:
    with cluster_on(redis_url, Application.FILTER, 2) as system:
        store.delete(f"{system.namespace}:identifiers")
        system.add_node()
        members = store.zrangebyscore(f"{system.namespace}:filter:members", "(0", "+inf")
        assert len(set(members)) == 3
        assert serves(system)


def test_one_node_started_twice_serves_as_one(redis_url: str, namespace: str) -> None:
    with (
        one_node(redis_url, Application.SERVICE, namespace) as first,
        one_node(redis_url, Application.SERVICE, namespace) as second,
        first.service() as ana,
        second.service() as bert,
    ):
        insults = sorted(f"tonto {number:02}" for number in range(40))
        for number, insult in enumerate(insults):
            assert (ana if number % 2 else bert).add_insult(insult) is True
        assert ana.get_insults() == bert.get_insults() == insults
        with ana.subscribe() as subscription:
            assert bert.start_broadcast() is True
            assert ana.start_broadcast() is False
            ticks = [subscription.receive(10.0) for _ in range(8)]
        numbers = [tick.number for tick in ticks if tick]  # two that send would count them twice
        assert numbers == list(range(numbers[0], numbers[0] + 8))


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
def test_a_dead_nodes_petitions_are_taken_over_although_the_clock_of_redis_jumped(
    redis_url: str, store: Any, seconds: float
) -> None:
    """Instead of the clock, all the times that are stored are moved. A live node must not lose its lease."""
    with cluster_on(redis_url, Application.FILTER, 3) as system:
        dead = system.nodes[0]
        system.launcher.kill(dead)
        for name in ("members", "nodes"):
            key = f"{system.namespace}:filter:{name}"
            for member in store.zrange(key, 0, -1):
                store.zincrby(key, -seconds, member)
        pulsed = f"{system.namespace}:filter:pulsed"
        store.set(pulsed, float(store.get(pulsed) or time.time()) - seconds)
        with system.filter(deadline_seconds=10.0) as client:
            for _ in range(30):
                assert client.filter("tonto") == "CENSORED"
        members = f"{system.namespace}:filter:members"
        eventually(lambda: len(store.zrangebyscore(members, "(0", "+inf")) == 2)
        for node in system.nodes[1:]:
            assert "was taken over" not in system.launcher.logs(node)


def test_the_id_of_a_bad_petition_is_told_whole(redis_url: str, store: Any) -> None:
    with one_node(redis_url, Application.SERVICE) as system:
        reply_to = f"{system.namespace}:reply:{uuid4().hex}"
        petition = {"operation": "X1", "data": "tonto", "id": "one two", "reply_to": reply_to}
        store.rpush(f"{system.namespace}:service", json.dumps(petition))
        reply = json.loads(store.blpop([reply_to], timeout=10)[1])
        assert (reply["id"], reply["error"]) == ("one two", "MALFORMED")
