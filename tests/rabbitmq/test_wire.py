"""Each bad message to a RabbitMQ node gets a reply with its code, and the node goes on serving."""

import gzip
import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pika
import psutil
import pytest
from pika import data
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import BasicProperties

from harness.faults.kinds import INSULT
from harness.faults.kinds.rabbitmq import (
    CONTROL,
    ENCODE_VALUE,
    KINDS,
    MEBIBYTE,
    STRANGE_REPLY_QUEUES,
    TEXTS,
    UNANSWERABLE,
    Properties,
    Written,
    asking,
    nested,
)
from lab.contract import Application, Architecture
from lab.process.system import System
from tests.eventually import eventually
from tests.wire import ANSWER_SECONDS, BadInput, NodeFailure, Wire, assert_same_process, each, one_node


def _encode(pieces: list[bytes], value: object) -> int:
    if not isinstance(value, Written):
        return ENCODE_VALUE(pieces, value)
    pieces.append(value.bytes)
    return len(value.bytes)


class Client:
    """A bare connection with a queue for replies."""

    def __init__(self, url: str) -> None:
        data.encode_value = _encode  # pika would not write bad headers
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel: BlockingChannel = self._connection.channel()
        self._replies = str(self._channel.queue_declare("", exclusive=True).method.queue)

    def publish(self, queue: str, properties: Properties, body: bytes) -> None:
        self._channel.basic_publish("", queue, body, BasicProperties(**properties))

    def ask(self, queue: str, properties: Properties, body: bytes = b"") -> tuple[str, str]:
        """Publish a request; return its reply, and the type of that."""
        asked = uuid4().hex
        where: Properties = {"reply_to": self._replies, "correlation_id": asked}
        self.publish(queue, where | properties, body)
        reply = self._channel.consume(self._replies, auto_ack=True, inactivity_timeout=ANSWER_SECONDS)
        _, answered, text = next(reply)
        self._channel.cancel()
        assert answered is not None, "no reply"
        assert answered.correlation_id == properties.get("correlation_id", asked)
        return str(text, "utf-8"), answered.type or ""

    def refusal(self, queue: str, properties: Properties, body: bytes) -> str:
        """Return the error that is the reply, as ``CODE: message``."""
        text, kind = self.ask(queue, properties, body)
        assert kind == "error", text[:300]
        fields: dict[str, Any] = json.loads(text)
        return f"{fields['code']}: {fields['message']}"

    def close(self) -> None:
        self._connection.close()
        data.encode_value = ENCODE_VALUE


node = one_node("rabbitmq")
filters = one_node("rabbitmq", Application.FILTER, Architecture.N_NODE)


@pytest.fixture
def client(amqp_url: str) -> Iterator[Client]:
    with closing(Client(amqp_url)) as bare:
        yield bare


def service_queue(system: System) -> str:
    return f"{system.namespace}.service"


def work_queue(system: System) -> str:
    return f"{system.namespace}.filter"


class RabbitWire(Wire):
    """A queue. Its node works in order, so a reply shows that it has finished all messages before."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.client = Client(system.target.address)

    @property
    def queue(self) -> str:
        """The name of the queue."""
        return f"{self.system.namespace}.{self.system.spec.application}"

    def refusal(self, *sent: Any) -> str:
        return self.client.refusal(self.queue, *sent)

    def result_refusal(self, petition_id: str) -> str:
        return self.client.refusal(f"{self.queue}.control", *asking("X3", petition_id=petition_id))

    def serve(self) -> None:
        assert_answers(self.client, self.system)

    def close(self) -> None:
        self.client.close()


class ControlWire(RabbitWire):
    """The queue for questions to the filter."""

    def refusal(self, *sent: Any) -> str:
        return self.client.refusal(f"{self.queue}.control", *sent)


class TestEvents(BadInput):
    wire = RabbitWire
    kinds = KINDS


class TestQuestions(BadInput):
    wire = ControlWire
    node = "filters"
    kinds = CONTROL


class TestTexts(BadInput):
    wire = RabbitWire
    node = "filters"
    kinds = TEXTS


class TestFailure(NodeFailure):
    wire = RabbitWire
    node = "filters"


def assert_answers(client: Client, system: System) -> None:
    if system.spec.application is Application.SERVICE:
        assert client.ask(service_queue(system), {}, INSULT.encode())[0] in ("true", "false")
    else:
        assert client.ask(work_queue(system), {}, f"quin {INSULT}".encode()) == ("quin CENSORED", "")


def assert_serves(client: Client, system: System) -> None:
    assert_answers(client, system)
    assert_same_process(system)


@pytest.mark.parametrize(("properties", "body"), each(UNANSWERABLE))
def test_a_bad_event_that_cannot_be_answered_is_logged_and_the_node_goes_on(
    node: System, client: Client, properties: Properties, body: bytes
) -> None:
    before = len(node.launcher.logs(node.nodes[0]))
    client.publish(service_queue(node), properties, body)
    assert_serves(client, node)
    line = eventually(lambda: node.launcher.logs(node.nodes[0])[before:])
    assert "place to reply to: " in line
    assert "Traceback" not in line


@pytest.mark.parametrize("reply_to", each(STRANGE_REPLY_QUEUES))
def test_a_reply_that_cannot_be_delivered_does_no_harm(
    node: System, client: Client, reply_to: object
) -> None:
    for code in ("X4", "X9"):
        client.publish(service_queue(node), {"type": code, "reply_to": reply_to}, b"")
        assert_serves(client, node)


def test_a_reply_to_the_nodes_own_queue_is_not_answered_for_ever(node: System, client: Client) -> None:
    queue = service_queue(node)
    client.publish(queue, {"type": "X9", "reply_to": queue}, b"")
    assert_serves(client, node)
    eventually(lambda: "no operation 'error'" in node.launcher.logs(node.nodes[0]))


def test_a_correlation_id_that_is_not_utf_8_comes_back_as_it_was(node: System, client: Client) -> None:
    for code in ("X9", "X4"):
        client.ask(service_queue(node), {"type": code, "correlation_id": b"\xff"})
    assert_serves(client, node)


def test_bad_events_are_not_delivered_again(node: System, client: Client) -> None:
    for properties, body, _ in KINDS.values():
        client.publish(service_queue(node), properties, body)
    assert_serves(client, node)
    assert "connecting again" not in node.launcher.logs(node.nodes[0])


def test_bombs_are_refused_quickly_and_leave_no_memory_behind(node: System, client: Client) -> None:
    bombs: list[tuple[Properties, bytes]] = [
        ({}, b"x" * 32 * MEBIBYTE),
        ({"type": "X4"}, b"[" * MEBIBYTE),
        ({"type": "X4"}, b'{"limit": %b}' % (b"9" * (MEBIBYTE - 20))),
        ({"headers": {"x": nested(b"F", b"\1a")}}, b""),
        ({"content_encoding": "gzip"}, gzip.compress(b"x" * 64 * MEBIBYTE)),
    ]
    process = psutil.Process(node.nodes[0].pid)
    for properties, body in bombs:
        client.refusal(service_queue(node), properties, body)
    before, most, slowest = process.memory_info().rss, 0, 0.0
    for _ in range(5):
        for properties, body in bombs:
            began = time.perf_counter()
            client.refusal(service_queue(node), properties, body)
            if len(body) <= MEBIBYTE:  # the transport of a longer one takes time
                slowest = max(slowest, time.perf_counter() - began)
            most = max(most, process.memory_info().rss)
    print(f"refused in {slowest * 1000:.0f} ms at most; memory +{(most - before) / MEBIBYTE:.1f} MiB")
    assert most - before < 10 * MEBIBYTE
    assert_serves(client, node)
