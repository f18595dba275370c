"""A store that is full, read-only or whose clock jumps: no text is to blame, all is done afterwards."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis._parsers.base import BaseParser

from harness.faults.by_hand import WallClock, redis_under
from lab.addresses import free_port
from lab.applications.censor import Censor
from lab.applications.filter import FilterApplication
from lab.brokers import Broker
from lab.brokers.provide import private_redis
from lab.contract import Application, Architecture, Result
from lab.errors import DeadlineExceeded, InternalError, LabError, Overloaded, Unavailable
from lab.middleware import MIDDLEWARES
from lab.options import LOOPBACK
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.store.protocol import FAILURES_AT_MOST
from lab.store.redis_store import RedisStore, as_lab_error, connect
from lab.work import Work
from tests.eventually import eventually
from tests.lab.conftest import await_more, submitted

LEASE_SECONDS = 0.2
REFUSED_WITH = (Overloaded, Unavailable, DeadlineExceeded)
REFUSING_SECONDS = 3.0
"""Longer than the leases of nodes and of texts."""


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A Redis that is made to refuse."""
    with private_redis() as private:
        yield private


@pytest.fixture
def client(broker: Broker) -> Iterator[Any]:
    with connect(broker.url) as client:
        yield client
        client.config_set("maxmemory", 0)
        client.config_set("min-replicas-to-write", 0)
        client.execute_command("REPLICAOF", "NO", "ONE")
        client.flushall()


@pytest.fixture
def store(broker: Broker) -> Iterator[RedisStore]:
    store = RedisStore(broker.url, "lab-0000feed")
    yield store
    store.close()


def full(client: Any, on: bool) -> None:
    client.config_set("maxmemory", int(on))


def read_only(client: Any, on: bool) -> None:
    client.execute_command("REPLICAOF", *((LOOPBACK, free_port()) if on else ("NO", "ONE")))


def without_replicas(client: Any, on: bool) -> None:
    client.config_set("min-replicas-to-write", int(on))


REFUSALS = {"full": full, "read-only": read_only, "alone": without_replicas}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_store_that_refuses_everybody_says_so_at_once(store: RedisStore, client: Any, name: str) -> None:
    refuse = REFUSALS[name]
    refuse(client, True)
    for call in (lambda: store.add_insult("tonto", "id"), lambda: store.submit("a", "text")):
        with pytest.raises(Overloaded):
            call()
    refuse(client, False)
    store.submit("a", "text")
    assert store.waiting() == 1


@pytest.mark.parametrize(
    "told",
    [
        "READONLY You can't write against a read only replica.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "LOADING Redis is loading the dataset in memory",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "NOREPLICAS Not enough good replicas to write.",
        "CLUSTERDOWN Hash slot not served",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "NOPERM this user has no permissions to run the 'rpush' command",
        "NOAUTH Authentication required.",
        "ERR max number of clients reached",
        "OOM command not allowed when used memory > 'maxmemory'.",
    ],
)
@pytest.mark.parametrize("wrapped", ["{}", "ERR Error running script (call to f_0): @user_script:1: -{}"])
def test_what_redis_refuses_everybody_is_told_from_what_it_refuses_of_one(told: str, wrapped: str) -> None:
    error = as_lab_error(BaseParser.parse_error(wrapped.format(told)))  # type: ignore[no-untyped-call]
    if told.startswith(("ERR", "NOAUTH")) and wrapped != "{}":
        pytest.skip("no command in a script is told so")
    takes_no_writes = told.startswith(("OOM", "MISCONF", "NOREPLICAS", "READONLY"))
    assert isinstance(error, Overloaded if takes_no_writes else Unavailable)


def test_what_a_working_redis_refuses_is_an_internal_error_with_its_words(
    store: RedisStore, client: Any
) -> None:
    client.set("lab-0000feed:texts", "no hash")
    with pytest.raises(InternalError, match="WRONGTYPE") as caught:
        store.submit("a", "text")
    assert caught.value.message.endswith(caught.value.error_id)


def test_in_a_full_store_what_was_accepted_is_finished(store: RedisStore, client: Any) -> None:
    for number in range(3):
        store.submit(str(number), "text")
    full(client, True)
    while taken := store.take(LEASE_SECONDS):
        assert store.renew(taken.petition_id, taken.epoch, LEASE_SECONDS)
        assert store.complete(taken.petition_id, "result", epoch=taken.epoch)
    assert len(store.get_results(10)) == 3
    with pytest.raises(Overloaded):
        store.submit("another", "text")


@pytest.mark.parametrize("name", ["read-only", "alone"])
def test_a_result_that_the_store_does_not_take_is_handed_in_later_without_a_failure(
    store: RedisStore, client: Any, name: str
) -> None:
    refuse = REFUSALS[name]
    node = FilterApplication(store, Censor(["tonto"]), Work())
    store.submit("a", "tonto")
    for _ in range(FAILURES_AT_MOST + 1):  # each would count as a failure if its lease ran out for that
        taken = store.take(LEASE_SECONDS, node.owner)
        if not taken:
            break
        refuse(client, True)
        with pytest.raises(LabError):
            node._finish(taken)
        refuse(client, False)
    node.renew_leases()
    assert (store.result("a"), store.dead_letters(10)) == ("CENSORED", [])


def test_a_batch_that_the_store_does_not_take_is_handed_in_later(store: RedisStore, client: Any) -> None:
    node = FilterApplication(store, Censor(["tonto"]), Work())
    for number in range(3):
        store.submit(str(number), f"tonto {number}")
    assert node.work_on_list()
    read_only(client, True)
    with pytest.raises(Overloaded):
        node.work_on_list()
    read_only(client, False)
    node.renew_leases()
    assert [store.result(str(number)) for number in range(3)] == [f"CENSORED {number}" for number in range(3)]
    assert not node.work_on_list()


@pytest.mark.usefixtures("client")
def test_a_node_that_stops_hands_in_the_batch_that_it_finished(store: RedisStore) -> None:
    node = FilterApplication(store, Censor(["tonto"]), Work())
    store.submit("a", "tonto")
    assert node.work_on_list()
    node.give_back()
    assert (store.result("a"), store.waiting()) == ("CENSORED", 0)


def test_a_node_finishes_its_work_list_after_the_store_was_read_only(store: RedisStore, client: Any) -> None:
    node = FilterApplication(store, Censor(["tonto"]), Work())
    store.submit("a", "tonto")
    read_only(client, True)
    with pytest.raises(Overloaded):
        node.resolve_next()
    read_only(client, False)
    assert eventually(node.resolve_next) == Result("a", "CENSORED")


def start(
    request: pytest.FixtureRequest, name: str, application: Application, broker: Broker, *options: str
) -> System:
    """Return a system of two nodes on the store that refuses, not yet started."""
    amqp = request.getfixturevalue("amqp_url") if MIDDLEWARES[name].broker == "rabbitmq" else ""
    spec = SystemSpec(name, application, Architecture.N_NODE, 2, node_arguments=options)
    return System(spec, BrokerUrls(redis=broker.url, amqp=amqp))


@pytest.mark.parametrize("name", MIDDLEWARES)
def test_what_was_acknowledged_is_done_after_the_store_refused_and_what_needs_no_store_goes_on(
    request: pytest.FixtureRequest, broker: Broker, client: Any, name: str
) -> None:
    with start(request, name, Application.FILTER, broker, "--work-time", "5ms") as system:
        with submitted(system, *REFUSED_WITH) as accepted, system.filter(deadline_seconds=30.0) as another:
            for refuse in (full, read_only):
                await_more(accepted)
                refuse(client, True)
                with suppress(Overloaded, Unavailable):  # a node may say so, but not be silent
                    assert another.filter("tonto") == "CENSORED"
                time.sleep(REFUSING_SECONDS)  # not before an assertion: leases run out
                refuse(client, False)
            await_more(accepted)
        results = f"{system.namespace}:results"
        eventually(lambda: set(accepted) <= set(client.hkeys(results)), within=30.0)
        done = client.hgetall(results)
        assert {key: done[key] for key in accepted} == accepted
        assert not [key for key in client.keys(f"{system.namespace}:*") if key.endswith("dead")]
        assert all(map(system.launcher.alive, system.nodes))


@pytest.mark.parametrize("name", MIDDLEWARES)
def test_a_client_that_sends_meanwhile_is_told_long_before_the_deadline(
    request: pytest.FixtureRequest, broker: Broker, client: Any, name: str
) -> None:
    with (
        start(request, name, Application.SERVICE, broker) as system,
        system.service(deadline_seconds=60.0) as service,
    ):
        for refuse in (full, read_only):
            service.add_insult("tonto")
            refuse(client, True)
            with pytest.raises((Overloaded, Unavailable)):
                service.add_insult(refuse.__name__)
            refuse(client, False)
            eventually(lambda: service.add_insult("bobo") or "bobo" in service.get_insults())


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
def clock_client(clock: Clock) -> Iterator[Any]:
    with connect(clock.url) as client:
        yield client


def on_clock(name: str, application: Application, clock: Clock, *options: str, nodes: int = 2) -> System:
    spec = SystemSpec(name, application, Architecture.N_NODE, nodes, node_arguments=options, interval="300ms")
    return System(spec, BrokerUrls(redis=clock.url))


@pytest.mark.parametrize("name", ["redis_impl", "xmlrpc", "pyro4"])
def test_all_that_was_accepted_is_done_although_the_clock_jumped_and_a_node_died(
    clock: Clock, clock_client: Any, name: str
) -> None:
    with on_clock(name, Application.FILTER, clock, "--work-time", "10ms") as system:
        with submitted(system) as accepted:
            for seconds in JUMPS:
                await_more(accepted)
                system.add_node()
                dying = next(filter(system.launcher.alive, system.nodes))
                system.launcher.kill(dying)
                clock.set(seconds)
            await_more(accepted)
        results = f"{system.namespace}:results"
        eventually(lambda: clock_client.hgetall(results) == accepted, within=TAKEN_OVER_SECONDS)
        assert not clock_client.keys(f"{system.namespace}:*dead")
        for node in filter(system.launcher.alive, system.nodes):
            assert "was taken over" not in system.launcher.logs(node)
            assert "another node took it over" not in system.launcher.logs(node)


def test_every_call_is_answered_after_the_clock_jumped_and_a_node_died(clock: Clock) -> None:
    with on_clock("redis_impl", Application.FILTER, clock) as system, system.filter(15.0) as filter_client:
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
    with on_clock("redis_impl", Application.SERVICE, clock, nodes=1) as system, system.service() as service:
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
