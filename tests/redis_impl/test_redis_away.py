"""Redis killed, silent, full, its replies lost, its keys deleted by hand: nothing confirmed is lost."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import pytest

from harness.faults.by_hand import full_redis, read_only_redis
from harness.faults.proxy import Harm, Proxy
from lab.addresses import free_port
from lab.brokers import Broker
from lab.brokers.provide import private_redis
from lab.contract import Application, Architecture, Target
from lab.errors import DeadlineExceeded, LabError, Overloaded, Unavailable
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.store.redis_store import connect
from redis_impl.insult_filter import InsultFilterClient
from redis_impl.insult_service import InsultServiceClient
from redis_impl.tuned.client import MAX_WAITING_CALLS
from tests.eventually import eventually
from tests.redis_impl.private import SEED, cluster_on, connected


@contextmanager
def paused(url: str) -> Iterator[None]:
    """Let Redis answer nobody, for longer than the nodes' time limits; it ends by itself."""
    with connected(url) as store:
        store.execute_command("CLIENT", "PAUSE", 6000, "ALL")  # type: ignore[no-untyped-call]
    yield


REFUSALS = {"full": full_redis, "read-only": read_only_redis, "blocked": paused}


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A Redis that is killed and started again."""
    with private_redis() as private:
        yield private


def test_a_call_whose_reply_is_lost_is_repeated_by_its_id_and_has_its_effect_once(broker: Broker) -> None:
    """One insult is added and removed again and again: a repetition with an effect would change an answer."""
    print(f"seed {SEED}")
    harms = {Harm.DROP: 0.05, Harm.RESET: 0.05, Harm.HALF_CLOSE: 0.02}
    with cluster_on(broker.url, Application.SERVICE, 1) as system, Proxy(SEED, harms) as proxy:
        target = _through(proxy, system)
        with InsultServiceClient(target, 15.0) as client:
            for _ in range(20):
                assert client.add_insult("tonto") is True
                assert client.remove_insult("tonto") is True
        print(f"{dict(proxy.done)} of {proxy.replies} replies")
        assert proxy.done[Harm.DROP]


def test_a_submit_whose_reply_is_lost_is_stored_once(broker: Broker) -> None:
    print(f"seed {SEED}")
    with cluster_on(broker.url, Application.FILTER, 1) as system, Proxy(SEED, {Harm.DROP: 0.2}) as proxy:
        with InsultFilterClient(_through(proxy, system), 15.0) as client:
            accepted = {client.submit(f"{number} tonto"): f"{number} CENSORED" for number in range(100)}
            assert list(client.filter_many(["tonto"] * 300, in_flight=100)) == ["CENSORED"] * 300
        with connected(broker.url) as store:
            results = f"{system.namespace}:results"
            eventually(lambda: store.hlen(results) == len(accepted))
            assert store.hgetall(results) == accepted
            assert store.zcard(f"{results}:order") == len(accepted)


def test_a_petition_that_a_node_took_without_hearing_of_it_is_not_lost(broker: Broker) -> None:
    """The node waits for each of them, and one in ten of its answers from Redis is lost on the way."""
    print(f"seed {SEED}")
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(SEED, {Harm.DROP: 0.1}))
        system = stack.enter_context(cluster_on(_between(proxy, broker.url), Application.FILTER, 1))
        target = Target(broker.url, Architecture.N_NODE, system.namespace)
        client = stack.enter_context(InsultFilterClient(target, 15.0))
        store = stack.enter_context(connected(broker.url))
        proxy.is_armed = True
        for number in range(1, 101):
            client.submit(f"{number} tonto")
            eventually(lambda n=number: store.hlen(f"{system.namespace}:results") >= n)  # type: ignore[misc]
        proxy.is_armed = False  # the system ends undisturbed


def test_while_redis_is_away_calls_end_with_their_deadline_and_only_so_many_wait() -> None:
    target = Target(f"redis://127.0.0.1:{free_port()}/0", Architecture.N_NODE, "lab-00000000")
    codes: list[type[LabError]] = []

    def call(client: InsultFilterClient) -> None:
        try:
            client.submit("tonto")
        except LabError as error:
            codes.append(type(error))

    with InsultFilterClient(target, 1.5) as client:
        started = time.monotonic()
        calls = [threading.Thread(target=call, args=(client,)) for _ in range(MAX_WAITING_CALLS + 50)]
        for thread in calls:
            thread.start()
        for thread in calls:
            thread.join()
        print(f"{len(calls)} calls ended after {time.monotonic() - started:.1f} s")
        assert len(codes) == len(calls)
        assert set(codes) == {Unavailable, Overloaded}
        assert time.monotonic() - started < 15.0


def test_a_redis_that_stands_still_holds_nobody_beyond_the_deadline(broker: Broker) -> None:
    assert broker.server
    with cluster_on(broker.url, Application.FILTER, 2) as system, system.filter(1.0) as client:
        client.filter("tonto")
        os.kill(broker.server.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                client.filter("tonto")
            print(f"ended after {time.monotonic() - started:.2f} s")
            assert time.monotonic() - started < 10.0
            time.sleep(2.5)  # the nodes' leases end meanwhile
        finally:
            os.kill(broker.server.pid, signal.SIGCONT)
        eventually(lambda: _answers(client))
        for node in system.nodes:  # it was Redis that was silent, and nobody was taken over for that
            assert "was taken over" not in system.launcher.logs(node)


def test_a_redis_without_memory_is_overloaded(broker: Broker) -> None:
    with cluster_on(broker.url, Application.FILTER, 1) as system, system.filter(1.0) as client:
        with full_redis(broker.url), pytest.raises(Overloaded):
            client.submit("tonto")
        assert client.filter("tonto") == "CENSORED"


@pytest.mark.parametrize(
    ("refusal", "options"), [*((name, ()) for name in REFUSALS), ("full", ("--batch", "1"))]
)
def test_what_was_pushed_is_done_after_redis_refused_everybody_and_nothing_is_dead_lettered(
    broker: Broker, refusal: str, options: tuple[str, ...]
) -> None:
    insults = {f"tonto {number}" for number in range(1000)}
    with cluster_on(broker.url, Application.SERVICE, 2, *options) as system, connected(broker.url) as store:
        with store.pipeline() as pipe:
            for insult in sorted(insults):
                petition = {"operation": "X1", "data": insult, "id": insult.replace(" ", "-")}
                pipe.rpush(f"{system.namespace}:service", json.dumps(petition))
            pipe.execute()
        with REFUSALS[refusal](broker.url):
            time.sleep(3.0)  # not before an assertion: longer than the leases
        eventually(lambda: store.zcard(f"{system.namespace}:insults") == len(insults), within=20.0)
        assert not store.exists(f"{system.namespace}:service:dead")
        assert all(map(system.launcher.alive, system.nodes))


def test_a_subscriber_whose_connection_breaks_gets_what_it_missed(broker: Broker) -> None:
    with (
        cluster_on(broker.url, Application.SERVICE, 1, interval="100ms") as system,
        system.service() as client,
    ):
        client.add_insult("tonto")
        with connected(broker.url) as store:
            client.start_broadcast()
            eventually(lambda: store.xlen(f"{system.namespace}:ticks:recent") > 3)
            with client.subscribe() as subscription:
                store.client_kill_filter(_type="pubsub")
                ticks = [subscription.receive(10.0) for _ in range(12)]
    numbers = [tick.number for tick in ticks if tick]
    assert numbers == list(range(numbers[0], numbers[0] + 12))
    assert numbers[0] > 3  # nothing from before it subscribed


def _through(proxy: Proxy, system: System) -> Target:
    address = _between(proxy, system.target.address)
    proxy.is_armed = True
    return Target(address, Architecture.N_NODE, system.namespace)


def _between(proxy: Proxy, url: str) -> str:
    """Return the URL of the Redis at *url* behind *proxy*."""
    host, _, after = url.rpartition("@")[2].removeprefix("redis://").partition(":")
    port = int(after.partition("/")[0])
    return url.replace(f":{port}/", f":{proxy.listen('127.0.0.1', 0, host, port)}/")


def _answers(client: object) -> bool:
    try:
        return bool(client.filter("tonto") == "CENSORED")  # type: ignore[attr-defined]
    except LabError:
        return False


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


def test_the_id_of_a_bad_petition_is_told_whole(redis_url: str, store: Any) -> None:
    with one_node(redis_url, Application.SERVICE) as system:
        reply_to = f"{system.namespace}:reply:{uuid4().hex}"
        petition = {"operation": "X1", "data": "tonto", "id": "one two", "reply_to": reply_to}
        store.rpush(f"{system.namespace}:service", json.dumps(petition))
        reply = json.loads(store.blpop([reply_to], timeout=10)[1])
        assert (reply["id"], reply["error"]) == ("one two", "MALFORMED")
