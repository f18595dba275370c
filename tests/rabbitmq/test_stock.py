"""The stock variant: it answers a bare client, works with the tuned one, and shares texts among its nodes."""

import json
import shutil
import subprocess
from contextlib import ExitStack

import pytest
from pika.spec import BasicProperties

from lab.contract import Application, Architecture, Target
from lab.errors import Overloaded, Unavailable
from lab.middleware import MIDDLEWARES
from tests.conftest import StartSystem
from tests.eventually import eventually
from tests.rabbitmq.conftest import PrivateRabbit, channel_to, outcome

DEADLINE_SECONDS = 60.0
STOCK, TUNED = MIDDLEWARES["rabbitmq:stock"], MIDDLEWARES["rabbitmq"]


def ask(url: str, queue: str, code: str, body: str = "") -> object:
    """Publish an event as any program may; return its reply."""
    with channel_to(url) as channel:
        replies = channel.queue_declare("", exclusive=True).method.queue
        properties = BasicProperties(type=code or None, reply_to=replies, correlation_id="bare")
        channel.basic_publish("", queue, body.encode(), properties)
        _, answered, reply = next(
            channel.consume(replies, auto_ack=True, inactivity_timeout=DEADLINE_SECONDS)
        )
    assert answered.correlation_id == "bare"
    return json.loads(reply) if answered.content_type == "application/json" else reply.decode()


@pytest.mark.parametrize("architecture", list(Architecture))
def test_a_bare_client_is_answered_as_the_page_on_protocols_says(
    start_system: StartSystem, amqp_url: str, architecture: Architecture
) -> None:
    service = start_system("rabbitmq:stock", Application.SERVICE, architecture)
    queue = f"{service.namespace}.service"
    assert ask(amqp_url, queue, "", "tonto") is True
    assert ask(amqp_url, queue, "", "tonto") is False
    assert ask(amqp_url, queue, "X1") == "tonto"
    assert ask(amqp_url, queue, "X4", '{"limit": 1}') == ["tonto"]
    assert [ask(amqp_url, queue, code) for code in ("X2", "X2", "X3")] == [True, False, True]
    assert ask(amqp_url, queue, "X5", "tonto") is True
    refused = ask(amqp_url, queue, "X9")
    assert isinstance(refused, dict)
    assert refused["code"] == "UNKNOWN_OPERATION"
    filters = start_system("rabbitmq:stock", Application.FILTER, architecture)
    assert ask(amqp_url, f"{filters.namespace}.filter", "", "quin tonto") == "quin CENSORED"


def test_a_stock_client_and_a_tuned_client_work_with_the_same_tuned_nodes(
    start_system: StartSystem,
) -> None:
    with ExitStack() as stack:
        service = start_system("rabbitmq", Application.SERVICE, interval="100ms")
        client = stack.enter_context(STOCK.service_client(service.target))
        assert client.add_insult("tonto")
        subscription = stack.enter_context(client.subscribe())
        assert client.start_broadcast()
        tick = subscription.receive(DEADLINE_SECONDS)
        assert tick
        assert tick.insult == "tonto"
        filters = start_system("rabbitmq", Application.FILTER, Architecture.N_NODE)
        stock = stack.enter_context(STOCK.filter_client(filters.target))
        tuned = stack.enter_context(TUNED.filter_client(filters.target))
        assert stock.filter("quin tonto") == "quin CENSORED"
        assert tuned.result(stock.submit("quin tonto"), DEADLINE_SECONDS) == "quin CENSORED"


def test_a_text_that_no_queue_takes_is_an_error_and_not_an_id(rabbit: PrivateRabbit) -> None:
    target = Target(rabbit.url, Architecture.N_NODE, "nowhere")
    with STOCK.filter_client(target) as client:
        assert isinstance(outcome(lambda: client.submit("tonto")), Unavailable)
        with channel_to(rabbit.url) as channel:
            full = {"x-max-length": 0, "x-overflow": "reject-publish"}
            channel.queue_declare("nowhere.filter", durable=True, arguments=full)
            assert isinstance(outcome(lambda: client.submit("tonto")), Overloaded)
            channel.queue_delete("nowhere.filter")


@pytest.mark.skipif(not shutil.which("amqp-publish"), reason="amqp-publish is not installed")
def test_a_text_from_amqp_publish_becomes_a_result(start_system: StartSystem, amqp_url: str) -> None:
    filters = start_system("rabbitmq:stock", Application.FILTER)
    command = ["amqp-publish", f"--url={amqp_url}", "-r", f"{filters.namespace}.filter", "-b", "quin tonto"]
    subprocess.run(command, check=True, timeout=DEADLINE_SECONDS)
    with filters.filter(DEADLINE_SECONDS) as client:
        results = eventually(client.get_results, within=DEADLINE_SECONDS)
    assert [result.text for result in results] == ["quin CENSORED"]
