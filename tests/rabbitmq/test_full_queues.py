"""A policy limits a queue, and it is full: senders are told at once, and accepted texts are done."""

import time
from collections.abc import Callable
from functools import partial

import pytest

from harness.faults.by_hand import full_queue
from lab.contract import Application, Architecture
from lab.errors import Overloaded
from lab.process.system import BrokerUrls, System, SystemSpec
from tests.eventually import eventually
from tests.rabbitmq.rig import PrivateRabbit, letters, outcome

DEADLINE_SECONDS = 60.0
TEXTS = 600


def test_a_text_for_a_full_work_queue_is_overloaded_at_once(rabbit: PrivateRabbit, redis_url: str) -> None:
    spec = SystemSpec("rabbitmq", Application.FILTER, Architecture.N_NODE, node_arguments=("--on-demand",))
    with (
        System(spec, BrokerUrls(redis_url, rabbit.url)) as system,
        system.filter(deadline_seconds=DEADLINE_SECONDS) as client,
    ):
        accepted = client.submit("tonto 1")
        with full_queue(rabbit.server, f"{system.namespace}.filter", 1):
            asks: tuple[Callable[[], object], ...] = (
                partial(client.submit, "tonto"),
                partial(client.filter, "tonto"),
                lambda: list(client.filter_many(["tonto"] * 50)),
            )
            for ask in asks:
                eventually(lambda ask=ask: is_refused_at_once(ask))  # type: ignore[misc]
            assert client.resolve() == "CENSORED 1"
        assert client.result(accepted, DEADLINE_SECONDS) == "CENSORED 1"
        assert client.resolve() is None


def is_refused_at_once(ask: Callable[[], object]) -> bool:
    began = time.monotonic()
    error = outcome(ask)
    assert isinstance(error, Overloaded), error
    assert "is full" in error.message
    return time.monotonic() - began < DEADLINE_SECONDS / 3


def test_an_event_for_a_full_queue_is_overloaded_at_once(rabbit: PrivateRabbit, redis_url: str) -> None:
    spec = SystemSpec("rabbitmq", Application.SERVICE, Architecture.N_NODE)
    with (
        System(spec, BrokerUrls(redis_url, rabbit.url)) as system,
        system.service(deadline_seconds=DEADLINE_SECONDS) as client,
    ):
        assert client.add_insult("tonto")
        with full_queue(rabbit.server, f"{system.namespace}.broadcaster", 0):
            eventually(lambda: is_refused_at_once(client.start_broadcast))
            assert client.get_insults() == ["tonto"], "the node serves what does not go on to the broadcaster"
        with full_queue(rabbit.server, f"{system.namespace}.service", 0):
            eventually(lambda: is_refused_at_once(partial(client.add_insult, "bobo")))
        assert client.add_insult("bobo")


@pytest.mark.parametrize("length", [50, 0])
def test_a_node_keeps_its_connection_and_does_all_texts_while_the_retry_queue_is_full(
    rabbit: PrivateRabbit, redis_url: str, length: int
) -> None:
    spec = SystemSpec(
        "rabbitmq",
        Application.FILTER,
        Architecture.N_NODE,
        nodes=2,
        node_arguments=("--work-time", "2ms", "--prefetch", "200"),
    )
    with System(spec, BrokerUrls(redis_url, rabbit.url)) as system, system.filter() as client:
        queue = f"{system.namespace}.filter"
        with full_queue(rabbit.server, f"{queue}.retry", length):
            ids = [client.submit(f"tonto {number}") for number in range(TEXTS)]
            system.launcher.kill(system.nodes[0])
            if length:
                for number, each in enumerate(ids):
                    assert client.result(each, DEADLINE_SECONDS) == f"CENSORED {number}"
            else:
                eventually(lambda: "is full" in system.launcher.logs(system.nodes[1]))
        for number, each in enumerate(ids):
            assert client.result(each, DEADLINE_SECONDS) == f"CENSORED {number}"
        assert letters(rabbit.url, f"{queue}.dead") == []
        assert "connecting again" not in system.launcher.logs(system.nodes[1])
