"""A real Redis whose clock is set back or forward by an hour, while a node is dead within its lease.

`lab faults` has this as the scenario `clock`; here nodes are not supervised, and one is killed for good.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness.faults.by_hand import WallClock, redis_under
from lab.contract import Application, Architecture
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.store.redis_store import connect
from tests.eventually import eventually
from tests.lab.conftest import await_more, submitted

HOUR = 3600
JUMPS = (-HOUR, HOUR)
TAKEN_OVER_SECONDS = 15.0

MISSING = WallClock.missing()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


class Clock(NamedTuple):
    """A Redis and the switch of its clock."""

    url: str
    set: Callable[[int], None]


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Clock]:
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
