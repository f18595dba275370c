"""Queues and exchanges are deleted by hand, or by a policy, while nodes and clients run."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from pika.exceptions import ChannelClosedByBroker

from lab.contract import Application, Architecture, InsultFilter, InsultService
from lab.errors import DeadlineExceeded, LabError, Overloaded, Unavailable
from lab.process.system import BrokerUrls, System, SystemSpec
from rabbitmq.insult_filter import InsultFilterClient
from tests.conftest import StartSystem
from tests.eventually import eventually
from tests.rabbitmq.conftest import PrivateRabbit, Worker, channel_to, outcome

DEADLINE_SECONDS = 60.0
DELETED_EVERY_SECONDS = 0.02
FILTER_QUEUES = ("filter", "filter.retry", "filter.control", "filter.dead")
SERVICE_QUEUES = ("service", "service.retry", "broadcaster")


@pytest.fixture(scope="module")
def filters(rabbit: PrivateRabbit, redis_url: str) -> Iterator[System]:
    spec = SystemSpec("rabbitmq", Application.FILTER, Architecture.N_NODE, nodes=2)
    with System(spec, BrokerUrls(redis_url, rabbit.url)) as system:
        yield system


def delete(url: str, *queues: str) -> None:
    with channel_to(url) as channel:
        for queue in queues:
            channel.queue_delete(queue)


def consumers(url: str, queue: str) -> int:
    """Return how many consumers *queue* has; 0 if it is not there."""
    with channel_to(url) as channel:
        try:
            return int(channel.queue_declare(queue, passive=True).method.consumer_count)
        except ChannelClosedByBroker:
            return 0


def filtered(client: InsultFilter, text: str) -> object:
    return outcome(lambda: client.result(client.submit(text), DEADLINE_SECONDS))


@pytest.mark.parametrize("gone", [*((queue,) for queue in FILTER_QUEUES), FILTER_QUEUES])
def test_filter_nodes_declare_and_consume_a_deleted_queue_again(
    rabbit: PrivateRabbit, filters: System, gone: tuple[str, ...]
) -> None:
    with filters.filter(deadline_seconds=DEADLINE_SECONDS) as client:
        assert client.filter("tonto") == "CENSORED"
        before = [len(filters.launcher.logs(node)) for node in filters.nodes]
        delete(rabbit.url, *(f"{filters.namespace}.{queue}" for queue in gone))
        for queue in set(gone) - {"filter.dead"}:  # nobody consumes dead letters
            eventually(partial(has_both_nodes, rabbit.url, f"{filters.namespace}.{queue}"))
        eventually(lambda: filtered(client, "tonto") == "CENSORED")
        assert client.filter("tonto") == "CENSORED"
        assert client.get_results()
    said = [filters.launcher.logs(node)[length:] for node, length in zip(filters.nodes, before, strict=True)]
    for queue in set(gone) - {"filter.dead"}:
        line = f"the queue {filters.namespace}.{queue} was deleted; declaring and consuming it again"
        # After the deletion before, a node consumes its queues again (decision 18): it may get no cancel.
        assert {one.count(line) for one in said} <= {0, 1}
        assert any(line in one for one in said)
    assert not any("connecting again" in one for one in said)


def has_both_nodes(url: str, queue: str) -> bool:
    return consumers(url, queue) == 2


@pytest.mark.parametrize("gone", [*((queue,) for queue in SERVICE_QUEUES), SERVICE_QUEUES])
def test_service_nodes_and_the_broadcaster_declare_and_consume_a_deleted_queue_again(
    rabbit: PrivateRabbit, redis_url: str, gone: tuple[str, ...]
) -> None:
    spec = SystemSpec("rabbitmq", Application.SERVICE, Architecture.N_NODE)
    with ExitStack() as stack:
        system = stack.enter_context(System(spec, BrokerUrls(redis_url, rabbit.url)))
        client = stack.enter_context(system.service(deadline_seconds=DEADLINE_SECONDS))
        assert client.add_insult("tonto")
        delete(rabbit.url, *(f"{system.namespace}.{queue}" for queue in gone))
        eventually(lambda: outcome(client.insult_me) == "tonto")
        *errors, answer = begun(client)
        # A start whose answer was lost with a queue may have had its effect: the next one then says False.
        assert answer is True or (answer is False and errors)
        assert client.start_broadcast() is False
        for queue in gone:
            eventually(lambda: consumers(rabbit.url, f"{system.namespace}.{queue}") == 1)  # noqa: B023


def begun(client: InsultService) -> list[object]:
    """Start the broadcast until it is answered, three times at most. Return all outcomes."""
    answers = [outcome(client.start_broadcast)]
    while isinstance(answers[-1], (Unavailable, DeadlineExceeded)) and len(answers) < 3:
        answers.append(outcome(client.start_broadcast))
    return answers


def test_a_text_sent_while_its_queue_is_deleted_gets_an_id_or_an_error(
    rabbit: PrivateRabbit, filters: System
) -> None:
    queue = f"{filters.namespace}.filter"
    ids: list[str] = []
    refused: list[LabError] = []

    def submit() -> None:
        with filters.filter(deadline_seconds=DEADLINE_SECONDS) as client:
            for number in range(150):
                try:
                    ids.append(client.submit(f"tonto {number}"))
                except LabError as error:
                    refused.append(error)

    sender = Worker(submit)
    deleted = 0
    with channel_to(rabbit.url) as channel:
        while sender.is_alive():
            deleted += channel.queue_delete(queue).method.message_count
            sender.join(DELETED_EVERY_SECONDS)
    sender.finish()
    eventually(partial(has_both_nodes, rabbit.url, queue), within=DEADLINE_SECONDS)
    assert {type(error) for error in refused} <= {Unavailable, Overloaded}  # a nack does not say why
    with filters.filter(deadline_seconds=DEADLINE_SECONDS) as client:
        eventually(lambda: filtered(client, "tonto") == "CENSORED", within=DEADLINE_SECONDS)
    print(f"{len(ids)} accepted, {len(refused)} refused, {deleted} waited in the queue when it was deleted")
    assert len(ids) + len(refused) == 150


def test_a_text_for_a_queue_that_is_gone_is_an_error_and_the_next_one_is_kept_for_a_node(
    rabbit: PrivateRabbit, redis_url: str
) -> None:
    spec = SystemSpec("rabbitmq", Application.FILTER, Architecture.N_NODE)
    with System(spec, BrokerUrls(redis_url, rabbit.url)) as system, system.filter() as client:
        system.launcher.stop(system.nodes[0])
        for ask in (client.submit, client.filter):
            delete(rabbit.url, f"{system.namespace}.filter")
            error = outcome(partial(ask, "tonto"))
            assert isinstance(error, Unavailable), error
            assert f"the queue {system.namespace}.filter was deleted" in error.message
            petition_id = eventually(lambda: accepted(client))
        system.add_node()
        assert client.result(petition_id, DEADLINE_SECONDS) == "CENSORED"


def accepted(client: InsultFilter) -> str:
    """Submit a text; return its id, or nothing if it was refused."""
    answer = outcome(partial(client.submit, "tonto"))
    return answer if isinstance(answer, str) else ""


def test_texts_that_are_purged_are_gone_and_the_node_goes_on(rabbit: PrivateRabbit, redis_url: str) -> None:
    spec = SystemSpec("rabbitmq", Application.FILTER, Architecture.N_NODE, node_arguments=("--on-demand",))
    with System(spec, BrokerUrls(redis_url, rabbit.url)) as system, system.filter() as client:
        client.submit("tonto 1")
        with channel_to(rabbit.url) as channel:
            assert channel.queue_purge(f"{system.namespace}.filter").method.message_count == 1
        assert client.resolve() is None
        client.submit("tonto 2")
        assert client.resolve() == "CENSORED 2"


def test_a_policy_that_expires_a_queue_without_consumers_costs_one_error_at_most(
    rabbit: PrivateRabbit, redis_url: str
) -> None:
    spec = SystemSpec("rabbitmq", Application.FILTER, Architecture.N_NODE, node_arguments=("--on-demand",))
    with System(spec, BrokerUrls(redis_url, rabbit.url)) as system, system.filter() as client:
        pattern = f"^{system.namespace}\\.filter$"
        rabbit.ctl("set_policy", "expiring", pattern, '{"expires": 500}', "--apply-to", "queues")
        try:
            eventually(lambda: f"{system.namespace}.filter" not in rabbit.queues(system.namespace))
            assert client.resolve() is None, "it is declared before it is looked into"
            eventually(lambda: f"{system.namespace}.filter" not in rabbit.queues(system.namespace))
            error = outcome(lambda: client.submit("tonto"))
            assert isinstance(error, Unavailable), error
        finally:
            rabbit.ctl("clear_policy", "expiring")
        eventually(lambda: accepted(client))
        assert client.resolve() == "CENSORED"
        assert "connecting again" not in system.launcher.logs(system.nodes[0])


def test_subscribers_hear_ticks_after_the_exchange_and_their_queues_were_deleted(
    rabbit: PrivateRabbit, redis_url: str
) -> None:
    spec = SystemSpec("rabbitmq", Application.SERVICE, Architecture.N_NODE, interval="100ms")
    with ExitStack() as stack:
        system = stack.enter_context(System(spec, BrokerUrls(redis_url, rabbit.url)))
        client = stack.enter_context(system.service())
        client.add_insult("tonto")
        subscriptions = [stack.enter_context(client.subscribe()) for _ in range(2)]
        client.start_broadcast()
        for subscription in subscriptions:
            assert subscription.receive(DEADLINE_SECONDS)
        with channel_to(rabbit.url) as channel:
            channel.exchange_delete(f"{system.namespace}.broadcast")
        for subscription in subscriptions:
            assert heard_anew(subscription)
        own = [name for name in rabbit.queues(system.namespace) if ".subscriber-" in name]
        assert len(own) == 2
        delete(rabbit.url, *own)
        for subscription in subscriptions:
            assert heard_anew(subscription)


def heard_anew(subscription: Any) -> bool:
    """Take all ticks that have arrived. Tell whether more come than can have been on their way."""
    while subscription.receive(0.0):
        pass
    return all(subscription.receive(DEADLINE_SECONDS) for _ in range(5))


def test_a_client_whose_reply_queue_was_deleted_gets_its_answers(
    rabbit: PrivateRabbit, filters: System
) -> None:
    with filters.filter(deadline_seconds=DEADLINE_SECONDS) as client:
        assert isinstance(client, InsultFilterClient)
        assert client.filter("tonto") == "CENSORED"
        rabbit.ctl("delete_queue", client._reply_queue)
        assert client.filter("tonto") == "CENSORED"


def test_one_node_keeps_its_insults_when_its_queue_was_deleted(
    start_system: StartSystem, amqp_url: str
) -> None:
    alone = start_system("rabbitmq", Application.SERVICE)
    with alone.service() as client:
        client.add_insult("tonto")
        delete(amqp_url, f"{alone.namespace}.service")
        eventually(lambda: outcome(client.get_insults) == ["tonto"])


def test_clients_and_nodes_say_once_that_a_queue_was_declared_with_other_arguments(
    rabbit: PrivateRabbit, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    spec = SystemSpec("rabbitmq", Application.FILTER, Architecture.N_NODE, nodes=2)
    with (
        System(spec, BrokerUrls(redis_url, rabbit.url)) as system,
        system.filter(deadline_seconds=DEADLINE_SECONDS) as client,
        system.filter(deadline_seconds=5.0) as impatient,
    ):
        queue = f"{system.namespace}.filter"
        eventually(partial(is_declared_otherwise, rabbit.url, queue))
        for node in system.nodes:
            eventually(lambda node=node: "of another kind" in system.launcher.logs(node))  # type: ignore[misc]
        for one in (impatient, client):
            error = outcome(partial(one.filter, "tonto"))
            assert isinstance(error, LabError)
            assert "of another kind" in error.message
        delete(rabbit.url, queue)
        for one in (impatient, client):
            eventually(lambda one=one: filtered(one, "tonto") == "CENSORED", within=DEADLINE_SECONDS)  # type: ignore[misc]
        logs = [caplog.text, *map(system.launcher.logs, system.nodes)]
        assert [log.count("of another kind") for log in logs] == [2, 1, 1]


def is_declared_otherwise(url: str, queue: str) -> bool:
    """Delete *queue* and declare it with other arguments, unless a node is faster."""
    with channel_to(url) as channel:
        try:
            channel.queue_delete(queue)
            channel.queue_declare(queue, durable=True, arguments={"x-max-length": 1000})
        except ChannelClosedByBroker:
            return False
        return True
