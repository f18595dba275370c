"""RabbitMQ killed, out of memory, or with full queues: what it confirmed is kept, and senders are told."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from urllib.parse import urlsplit

import pytest

from harness.faults.by_hand import full_queue
from harness.faults.site import Brokers
from lab.contract import Application, Architecture, InsultFilter
from lab.errors import Overloaded, Unavailable
from lab.operations import new_operation_id
from lab.process.launcher import DidNotStart
from lab.process.system import BrokerUrls, System, SystemSpec
from rabbitmq.insult_filter import InsultFilterClient
from rabbitmq.tuned.client import Request
from tests.eventually import eventually
from tests.rabbitmq.conftest import PrivateRabbit, channel_to, letters, outcome

TIMEOUT_SECONDS = 90.0
"""For a broker's restart on a busy machine, too."""
ENOUGH_MEMORY = "0.4"
NO_MEMORY = "0.000001"


@pytest.fixture(scope="module")
def filters(rabbit: PrivateRabbit, redis_url: str) -> Iterator[System]:
    spec = SystemSpec("rabbitmq", Application.FILTER, Architecture.N_NODE, nodes=2)
    with System(spec, BrokerUrls(redis_url, rabbit.url)) as system:
        yield system


def test_while_rabbitmq_is_away_few_requests_wait_and_one_that_waits_is_answered_when_it_is_back(
    rabbit: PrivateRabbit, filters: System
) -> None:
    with filters.filter(deadline_seconds=0.5) as client:
        assert isinstance(client, InsultFilterClient)
        eventually(lambda: outcome(partial(client.filter, "tonto")) == "CENSORED", within=TIMEOUT_SECONDS)
        rabbit.server.kill()
        early = assert_away(client)
        rabbit.server.start()
        assert client.answer("early", early, time.monotonic() + TIMEOUT_SECONDS) == "CENSORED"


def assert_away(client: InsultFilter) -> Request:
    """Check that requests wait while RabbitMQ is away, but not too many. Return one that waits."""
    assert isinstance(client, InsultFilterClient)
    eventually(lambda: client._channel is None)
    early = client.send(client.names.work, "", b"tonto", "early")
    for text in (b"x", b"x" * 65_000):
        error = outcome(partial(fill, client, text))
        assert isinstance(error, Overloaded), error
        assert "wait for an answer already" in error.message
    for ask in (client.filter, client.submit):
        error = outcome(partial(ask, "tonto"))
        assert isinstance(error, Unavailable), error
        assert "was not sent" in error.message
    return early


def fill(client: InsultFilterClient, text: bytes) -> None:
    """Send until the client refuses more; then forget the requests."""
    sent = []
    try:
        while True:
            sent.append(new_operation_id())
            client.send(client.names.work, "", text, sent[-1])
    finally:
        for each in sent:
            client.forget(each)


def test_while_rabbitmq_is_out_of_memory_clients_are_told_at_once_and_all_that_was_accepted_is_done(
    rabbit: PrivateRabbit, filters: System
) -> None:
    with (
        filters.filter(deadline_seconds=TIMEOUT_SECONDS) as client,
        filters.filter(deadline_seconds=TIMEOUT_SECONDS) as silent,
    ):
        accepted = [client.submit(f"tonto {number}") for number in range(50)]
        rabbit.ctl("set_vm_memory_high_watermark", NO_MEMORY)
        try:
            for asker, ask in ((client, client.submit), (client, client.filter), (silent, silent.submit)):
                assert isinstance(asker, InsultFilterClient)
                began = time.monotonic()
                error = outcome(partial(ask, "tonto"))
                # The first request may be on its way as RabbitMQ stops reading: it is not refused then.
                assert isinstance(error, Overloaded | Unavailable), error
                assert isinstance(error, Overloaded) or "It was sent" in error.message
                assert "out of memory" in error.message
                assert time.monotonic() - began < TIMEOUT_SECONDS / 3, "told, not timed out"
            with pytest.raises(DidNotStart, match="out of memory or disk"):
                filters.add_node()
        finally:
            rabbit.ctl("set_vm_memory_high_watermark", ENOUGH_MEMORY)
        eventually(lambda: outcome(partial(client.filter, "tonto")) == "CENSORED", within=TIMEOUT_SECONDS)
        for number, petition_id in enumerate(accepted):
            assert client.result(petition_id, TIMEOUT_SECONDS) == f"CENSORED {number}"
    assert "connecting again" not in filters.launcher.logs(filters.nodes[0]).partition("memory")[2]
    assert letters(rabbit.url, f"{filters.namespace}.filter.dead") == []


def test_a_throw_away_namespace_leaves_no_queue(rabbit: PrivateRabbit, redis_url: str) -> None:
    namespaces = []
    for application in Application:
        spec = SystemSpec("rabbitmq", application, Architecture.N_NODE)
        with System(spec, BrokerUrls(redis_url, rabbit.url)) as system, ExitStack() as stack:
            namespaces.append(system.namespace)
            if application is Application.FILTER:
                stack.enter_context(system.filter()).submit("tonto")
            else:
                client = stack.enter_context(system.service())
                stack.enter_context(client.subscribe())
            assert f"{system.namespace}.{application}.retry" in rabbit.queues(system.namespace)
    assert [rabbit.queues(namespace) for namespace in namespaces] == [[], []]


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


def test_letters_that_the_full_dead_letter_queue_refuses_are_logged_and_hold_up_no_work(
    rabbit: PrivateRabbit, redis_url: str
) -> None:
    node_arguments = ("--prefetch", "10")
    spec = SystemSpec(
        "rabbitmq", Application.FILTER, Architecture.N_NODE, nodes=2, node_arguments=node_arguments
    )
    with System(spec, BrokerUrls(redis_url, rabbit.url)) as system, system.filter() as client:
        assert isinstance(client, InsultFilterClient)
        queue = f"{system.namespace}.filter"
        petition_id = client.submit("tonto")
        assert client.result(petition_id, DEADLINE_SECONDS) == "CENSORED"
        with full_queue(rabbit.server, f"{queue}.dead", 1):
            for number in range(5):  # a text whose id is another's becomes a dead letter
                client.store(queue, f"bobo {number}".encode(), petition_id)
            for number in range(50):
                assert client.filter(f"tonto {number}") == f"CENSORED {number}"
                assert client.submit("tonto")

            def dropped() -> int:
                logs = "".join(map(system.launcher.logs, system.nodes))
                return logs.count(f"was dropped, because {queue}.dead is full: message {petition_id}")

            eventually(lambda: dropped() >= 3)  # the policy may come after the first
            eventually(lambda: waiting(rabbit, f"{queue}.dead") + dropped() == 5)
        assert "connecting again" not in "".join(map(system.launcher.logs, system.nodes))


def test_a_full_work_queue_is_worked_on_again_when_the_store_is_back(
    rabbit: PrivateRabbit, private_brokers: Brokers
) -> None:
    spec = SystemSpec(
        "rabbitmq", Application.FILTER, Architecture.N_NODE, nodes=2, node_arguments=("--prefetch", "10")
    )
    urls = BrokerUrls(private_brokers.urls.redis, rabbit.url)
    with System(spec, urls) as system, system.filter(deadline_seconds=DEADLINE_SECONDS) as client:
        accepted: list[object] = []

        def is_full() -> bool:
            accepted.append(outcome(lambda: client.submit(f"tonto {len(accepted)}")))
            return isinstance(accepted[-1], Overloaded)

        with full_queue(rabbit.server, f"{system.namespace}.filter", 5):
            private_brokers.kill("redis")
            try:
                eventually(is_full, every=0.0)
                eventually(lambda: "waiting for the store" in system.launcher.logs(system.nodes[0]))
            finally:
                private_brokers.restart("redis")
            for number, each in enumerate(accepted[:-1]):
                assert client.result(str(each), DEADLINE_SECONDS) == f"CENSORED {number}"
            eventually(lambda: isinstance(outcome(lambda: client.submit("tonto")), str))


def waiting(rabbit: PrivateRabbit, queue: str) -> int:
    """Return how many messages wait in *queue*."""
    with channel_to(rabbit.url) as channel:
        return int(channel.queue_declare(queue, passive=True).method.message_count)


@pytest.mark.parametrize(
    ("withdraw", "named"),
    [
        (("set_permissions", "-p", "/", "{user}", ".*", "", ".*"), "exchange 'amq.default'"),
        (("clear_permissions", "-p", "/", "{user}"), "vhost '/'"),
    ],
)
def test_what_rabbitmq_no_longer_permits_is_unavailable_at_once_and_named(
    rabbit: PrivateRabbit, filters: System, withdraw: tuple[str, ...], named: str
) -> None:
    user = str(urlsplit(rabbit.url).username)
    with filters.filter(deadline_seconds=DEADLINE_SECONDS) as client:
        eventually(lambda: outcome(partial(client.filter, "tonto")) == "CENSORED", within=TIMEOUT_SECONDS)
        try:
            rabbit.ctl(*(word.format(user=user) for word in withdraw))
            if withdraw[0] == "clear_permissions":  # RabbitMQ asks for it when somebody connects
                rabbit.ctl("close_all_connections", "by hand")
            # RabbitMQ remembers what it permitted to a channel until the channel is idle for a second
            eventually(
                lambda: isinstance(outcome(partial(client.submit, "tonto")), Unavailable), 30.0, every=3.0
            )
            for ask in (client.submit, client.filter):
                began = time.monotonic()
                error = outcome(partial(ask, "tonto"))
                assert isinstance(error, Unavailable), error
                assert "RabbitMQ does not permit it" in error.message
                assert named in error.message
                assert time.monotonic() - began < DEADLINE_SECONDS / 3
        finally:
            rabbit.ctl("set_permissions", "-p", "/", user, ".*", ".*", ".*")
        eventually(lambda: outcome(partial(client.filter, "tonto")) == "CENSORED", within=TIMEOUT_SECONDS)
