"""Systems of n nodes while their store is full or read-only: nothing acknowledged is lost or put aside."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from lab.addresses import free_port
from lab.brokers import Broker
from lab.brokers.provide import private_redis
from lab.contract import Application, Architecture
from lab.errors import DeadlineExceeded, LabError, Overloaded, Unavailable
from lab.middleware import MIDDLEWARES
from lab.options import LOOPBACK
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.store.redis_store import connect
from tests.eventually import eventually

REFUSING_SECONDS = 3.0
"""Longer than the leases of nodes and of texts."""
REFUSALS = {
    "full": (("CONFIG SET", "maxmemory", 1), ("CONFIG SET", "maxmemory", 0)),
    "read-only": (("REPLICAOF", LOOPBACK, free_port()), ("REPLICAOF", "NO", "ONE")),
}


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A Redis that is made to refuse."""
    with private_redis() as private:
        yield private


@pytest.fixture
def client(broker: Broker) -> Iterator[Any]:
    with connect(broker.url) as client:
        yield client
        for _, undo in REFUSALS.values():
            client.execute_command(*undo)


def start(
    request: pytest.FixtureRequest, name: str, application: Application, broker: Broker, *options: str
) -> System:
    """Return a system of two nodes on the store that refuses, not yet started."""
    amqp = request.getfixturevalue("amqp_url") if MIDDLEWARES[name].broker == "rabbitmq" else ""
    spec = SystemSpec(name, application, Architecture.N_NODE, 2, node_arguments=options)
    return System(spec, BrokerUrls(redis=broker.url, amqp=amqp))


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("name", MIDDLEWARES)
def test_every_text_that_was_acknowledged_is_done_after_the_store_refused(
    request: pytest.FixtureRequest, broker: Broker, client: Any, name: str, refusal: str
) -> None:
    refuse, undo = REFUSALS[refusal]
    accepted: dict[str, str] = {}
    refused: list[LabError] = []
    is_over = threading.Event()

    def submit(system: System) -> None:
        number = 0
        with system.filter(deadline_seconds=2.0) as filter_client:
            while not is_over.is_set():
                number += 1
                try:
                    accepted[filter_client.submit(f"{number} tonto")] = f"{number} CENSORED"
                except (Overloaded, Unavailable, DeadlineExceeded) as error:
                    refused.append(error)
                time.sleep(0.002)

    with start(request, name, Application.FILTER, broker, "--work-time", "5ms") as system:
        submitting = threading.Thread(target=submit, args=(system,))
        submitting.start()
        try:
            eventually(lambda: len(accepted) > 50)
            client.execute_command(*refuse)
            time.sleep(REFUSING_SECONDS)
            client.execute_command(*undo)
            before = len(accepted)
            eventually(lambda: len(accepted) > before + 20)
        finally:
            is_over.set()
            submitting.join()
        results = f"{system.namespace}:results"
        eventually(lambda: set(accepted) <= set(client.hkeys(results)), within=30.0)
        done = client.hgetall(results)
        assert {key: done[key] for key in accepted} == accepted
        assert not [key for key in client.keys(f"{system.namespace}:*") if key.endswith("dead")]
        assert all(map(system.launcher.alive, system.nodes))
    print(f"{len(accepted)} accepted, {len(refused)} refused: {set(map(type, refused))}")


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("name", MIDDLEWARES)
def test_who_sends_meanwhile_is_told_at_once(
    request: pytest.FixtureRequest, broker: Broker, client: Any, name: str, refusal: str
) -> None:
    refuse, undo = REFUSALS[refusal]
    with (
        start(request, name, Application.SERVICE, broker) as system,
        system.service(deadline_seconds=60.0) as service,
    ):
        service.add_insult("tonto")
        client.execute_command(*refuse)
        try:
            started = time.monotonic()
            with pytest.raises((Overloaded, Unavailable)):
                service.add_insult("bobo")
            assert time.monotonic() - started < 20.0
        finally:
            client.execute_command(*undo)
        assert eventually(lambda: service.add_insult("bobo") or "bobo" in service.get_insults())


@pytest.mark.parametrize("name", MIDDLEWARES)
def test_a_text_that_needs_no_store_is_answered_while_accepted_texts_wait_for_it(
    request: pytest.FixtureRequest, broker: Broker, client: Any, name: str
) -> None:
    refuse, undo = REFUSALS["read-only"]
    with (
        start(request, name, Application.FILTER, broker, "--work-time", "5ms") as system,
        system.filter(deadline_seconds=30.0) as filter_client,
    ):
        ids = [filter_client.submit(f"{number} tonto") for number in range(60)]
        client.execute_command(*refuse)
        try:
            answered = None
            with suppress(Overloaded, Unavailable):
                answered = filter_client.filter("tonto")
            assert answered in ("CENSORED", None)
        finally:
            client.execute_command(*undo)
        results = {filter_client.result(petition_id, 30.0) for petition_id in ids}
        assert results == {f"{number} CENSORED" for number in range(60)}
