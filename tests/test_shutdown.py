"""SIGTERM to a whole n-node system under load: drained in time, nothing accepted lost, nothing left."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest
import redis

from lab.brokers.rabbitmq_queues import queue_names
from lab.contract import Application, Architecture
from lab.errors import LabError
from lab.middleware import MIDDLEWARES
from lab.process.system import System, SystemSpec
from lab.store.namespace import throwaway_namespace
from tests.eventually import eventually
from tests.systems import system_for

CLIENTS = 4
ACCEPTED_BEFORE = 100
APPLIED_WITHIN = 20.0
DEADLINE_SECONDS = 2.0


class Load:
    """Clients that send until told to stop, and what was acknowledged to them."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._stopping = threading.Event()
        self.acknowledged: list[str] = []
        self.wrong: list[str] = []
        is_service = system.spec.application is Application.SERVICE
        self._send: Callable[[int], None] = self._add if is_service else self._submit

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._send, args=(client,)) for client in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def _add(self, sender: int) -> None:
        with self._system.service(DEADLINE_SECONDS) as client:
            for number in itertools.takewhile(lambda _: not self._stopping.is_set(), itertools.count()):
                with suppress(LabError):
                    insult = f"q{sender}x{number}"
                    (self.acknowledged if client.add_insult(insult) else self.wrong).append(insult)

    def _submit(self, sender: int) -> None:
        with self._system.filter(DEADLINE_SECONDS) as client:
            for number in itertools.takewhile(lambda _: not self._stopping.is_set(), itertools.count()):
                with suppress(LabError):
                    self.acknowledged.append(client.submit(f"tonto {number}"))
                    if client.filter(f"tonto {sender}") != f"CENSORED {sender}":
                        self.wrong.append(str(number))


@pytest.mark.parametrize("application", Application)
@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_a_system_that_is_stopped_under_load_drains_loses_nothing_and_leaves_nothing(
    request: pytest.FixtureRequest, middleware: str, application: Application
) -> None:
    kept = throwaway_namespace()  # not the system's own, which ends with it: what it did is looked at
    spec = SystemSpec(middleware, application, Architecture.N_NODE, nodes=2, namespace=kept)
    system = system_for(request, spec)
    try:
        with system:
            load = Load(system)
            with load.running():
                eventually(lambda: len(load.acknowledged) >= ACCEPTED_BEFORE, APPLIED_WITHIN)
                system.close()
            handles = [handle for handles in system.handles.values() for handle in handles]
            for handle in handles:  # one that does not drain within DRAIN_SECONDS is killed by its launcher
                assert system.launcher.wait(handle) == 0, handle.spec
                assert not psutil.pid_exists(handle.pid)
        assert not load.wrong
        with system_for(request, spec) as again:  # what a queue accepted waits there for nodes
            assert_applied(again, load.acknowledged)
    finally:
        system.delete_namespace()
    assert_gone(request, spec, kept)


def assert_applied(system: System, acknowledged: list[str]) -> None:
    if system.spec.application is Application.SERVICE:
        eventually(lambda: set(acknowledged) <= insults(system), APPLIED_WITHIN)
        return
    with system.filter() as client:
        for petition_id in acknowledged:
            assert client.result(petition_id, APPLIED_WITHIN).startswith("CENSORED ")


def insults(system: System) -> set[str]:
    found: list[str] = []
    with system.service() as client:
        while page := client.get_insults(found[-1] if found else ""):
            found += page
    return set(found)


def assert_gone(request: pytest.FixtureRequest, spec: SystemSpec, namespace: str) -> None:
    """Look at the brokers themselves, not at the names that we know."""
    if "redis" in spec.needed_brokers:
        with redis.Redis.from_url(request.getfixturevalue("redis_url")) as client:
            assert list(client.scan_iter(match=f"{namespace}*", count=1000)) == []
    if "rabbitmq" in spec.needed_brokers:
        names = queue_names(request.getfixturevalue("amqp_url"))
        if names is not None:
            assert [name for name in names if name.startswith(namespace)] == []
