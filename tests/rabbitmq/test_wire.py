"""What a foreign client sends over AMQP, right or wrong, written by hand or mutated at random."""

import gzip
import json
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any
from uuid import uuid4

import pika
import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pika import data
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import BasicProperties

import rabbitmq.tuned.connection  # noqa: F401  # lets pika read headers that it would fail on
from harness.faults.kinds.rabbitmq import (
    CONTROL,
    ENCODE_VALUE,
    INSULT,
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
from lab.errors import Code, InvalidRequest, LabError
from lab.limits import MAX_REQUEST_BYTES
from lab.process.system import System
from rabbitmq.tuned.delivery import DEATHS, FAILURES, MOST_DEATHS, NOT_BEFORE, Delivery, RetryQueue
from rabbitmq.tuned.wire import (
    SERVICE_CODES,
    UNREADABLE,
    code_of,
    fields_of,
    operation_id_of,
    operation_of,
    read_reply,
    reply_to,
    text_of,
)
from tests.eventually import eventually
from tests.wire import ANSWER_SECONDS, JSON, BadInput, NodeFailure, Wire, assert_same_process, each, one_node


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
        text = f"quin {INSULT}".encode()
        assert client.ask(f"{system.namespace}.filter", {}, text) == ("quin CENSORED", "")


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
def test_a_reply_that_cannot_be_delivered_is_harmless(node: System, client: Client, reply_to: object) -> None:
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
    before = len(node.launcher.logs(node.nodes[0]))
    for properties, body, _ in KINDS.values():
        client.publish(service_queue(node), properties, body)
    assert_serves(client, node)
    logs = node.launcher.logs(node.nodes[0])[before:].splitlines()
    # Replies to damaged names, in the test before, end a connection that is for such replies alone.
    assert all("INTERNAL_ERROR" in line for line in logs if "connecting again" in line)


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


MANY = settings(max_examples=100, deadline=None)
JSON_OR_NOT = st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode()))
SHORT = st.binary(max_size=255).map(lambda value: bytes([len(value)]) + value)
SIZES = {1: b"tbB", 2: b"Uus", 4: b"Iif", 5: b"D", 8: b"LldT"}


def sized(kind: bytes, content: bytes) -> bytes:
    """Return a value with its size before it."""
    return kind + struct.pack(">I", len(content)) + content


def table(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """Return the pairs of a table, one after the other."""
    return b"".join(bytes([len(name)]) + name + value for name, value in pairs)


def of_size(size: int) -> st.SearchStrategy[bytes]:
    """Values of the kinds that take *size* bytes."""
    kinds = st.sampled_from([bytes([kind]) for kind in SIZES[size]])
    return st.tuples(kinds, st.binary(min_size=size, max_size=size)).map(b"".join)


NAMES = st.binary(max_size=20) | st.sampled_from([b"operation", DEATHS.encode(), UNREADABLE.encode()])
VALUES = st.recursive(
    st.one_of(
        *map(of_size, SIZES),
        st.binary(max_size=60).map(lambda value: sized(b"S", value)),
        st.binary(max_size=60).map(lambda value: sized(b"x", value)),
        st.just(b"V"),
    ),
    lambda inner: st.one_of(
        st.lists(st.tuples(NAMES, inner), max_size=4).map(lambda pairs: sized(b"F", table(pairs))),
        st.lists(inner, max_size=4).map(lambda values: sized(b"A", b"".join(values))),
    ),
    max_leaves=12,
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5).map(lambda pairs: sized(b"", table(pairs)))
"""Tables of headers that a broker lets pass: the type of each value is that of its letter."""
FLAGGED = [
    (BasicProperties.FLAG_CONTENT_TYPE, SHORT),
    (BasicProperties.FLAG_CONTENT_ENCODING, SHORT),
    (BasicProperties.FLAG_HEADERS, HEADERS),
    (BasicProperties.FLAG_DELIVERY_MODE, st.binary(min_size=1, max_size=1)),
    (BasicProperties.FLAG_PRIORITY, st.binary(min_size=1, max_size=1)),
    (BasicProperties.FLAG_CORRELATION_ID, SHORT),
    (BasicProperties.FLAG_REPLY_TO, SHORT),
    (BasicProperties.FLAG_EXPIRATION, SHORT),
    (BasicProperties.FLAG_MESSAGE_ID, SHORT),
    (BasicProperties.FLAG_TIMESTAMP, st.binary(min_size=8, max_size=8)),
    (BasicProperties.FLAG_TYPE, SHORT),
    (BasicProperties.FLAG_USER_ID, SHORT),
    (BasicProperties.FLAG_APP_ID, SHORT),
]


@st.composite
def properties(draw: st.DrawFn) -> BasicProperties:
    """Draw properties as bytes, and decode them as the node does."""
    flags, fields = 0, b""
    for flag, values in FLAGGED:
        if draw(st.booleans()):
            flags |= flag
            fields += draw(values)
    return BasicProperties().decode(struct.pack(">H", flags) + fields)


@MANY
@given(properties())
def test_properties_are_read_or_refused_and_their_copy_can_be_sent(given: BasicProperties) -> None:
    for read in (code_of, operation_id_of, lambda each: operation_of(code_of(each), SERVICE_CODES)):
        refusal = refused(partial(read, given))
        assert refusal in (None, Code.MALFORMED, Code.BAD_ENCODING, Code.TOO_LARGE, Code.UNKNOWN_OPERATION)
    retries = RetryQueue("lab.filter")
    delivery = Delivery(None, 1, given, b"tonto", True)
    for decide in (retries.move, retries.after_death, retries.put_back):
        for message in decide(delivery):
            b"".join(message.properties.encode())
    assert refused(lambda: code_of(retries.move(delivery)[0].properties)) == refused(lambda: code_of(given))
    for reply in reply_to(given, "CENSORED"):
        b"".join(reply.properties.encode())


def refused(read: object) -> Code | None:
    """Return the code of the refusal, or None if there is none."""
    try:
        read()  # type: ignore[operator]
    except InvalidRequest as error:
        return error.code
    return None


@MANY
@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_a_body_is_text_or_refused(body: bytes) -> None:
    assert refused(lambda: text_of(BasicProperties(), body)) in (None, Code.BAD_ENCODING)


@MANY
@given(JSON_OR_NOT)
@example(b"[" * 50_000)
@example(b"9" * MAX_REQUEST_BYTES)
def test_a_body_is_an_object_or_refused(body: bytes) -> None:
    refusal = refused(lambda: fields_of(BasicProperties(), body))
    assert refusal in (None, Code.MALFORMED, Code.WRONG_TYPE, Code.BAD_ENCODING)


@MANY
@given(properties(), JSON_OR_NOT)
@example(BasicProperties(content_type="application/json"), b"[" * 100_000)
@example(BasicProperties(content_type="application/json", type="error"), b'{"code": [], "message": 1}')
@example(
    BasicProperties(content_type="application/json", type="error"), b'{"code": "TOO_LARGE", "message": 1}'
)
def test_a_reply_is_an_answer_or_an_error(given: BasicProperties, body: bytes) -> None:
    answer = read_reply(given, body)
    assert not isinstance(answer, Exception) or isinstance(answer, LabError)


@MANY
@given(
    st.dictionaries(
        st.sampled_from([DEATHS, FAILURES, NOT_BEFORE]), st.one_of(st.integers(), st.text(), st.none())
    )
)
def test_counts_that_a_stranger_wrote_into_headers_do_no_harm(headers: dict[str, object]) -> None:
    retries = RetryQueue("lab.filter")
    delivery = Delivery(None, 1, BasicProperties(headers=headers), b"tonto", True)
    moved = retries.after_death(delivery)[0]
    assert moved.routing_key in (retries.retry, retries.dead)
    moved = retries.move(delivery)[0]
    assert moved.routing_key == retries.retry, "a message that is new in the retry queue counts from 0"
    assert moved.properties.headers == {}
    slept: list[float] = []
    assert retries.wait(delivery, lambda seconds: slept.append(seconds) or True)  # type: ignore[func-returns-value]
    assert sum(slept) <= 1.0


def test_a_message_is_dead_lettered_after_so_many_deaths_with_the_reason() -> None:
    retries = RetryQueue("lab.filter")
    first = Delivery(None, 1, BasicProperties(message_id="a", reply_to="me"), b"tonto", True)
    message = retries.move(first)[0]
    for death in range(1, MOST_DEATHS):
        (message,) = retries.after_death(Delivery(None, 1, message.properties, message.body, True))
        assert message.routing_key == retries.retry
        assert message.properties.headers == {DEATHS: death, FAILURES: 0}
    letter, reply = retries.after_death(Delivery(None, 1, message.properties, message.body, True))
    assert (letter.routing_key, letter.body, letter.properties.message_id) == (retries.dead, b"tonto", "a")
    error = read_reply(reply.properties, reply.body)
    assert isinstance(error, LabError)
    assert error.code is Code.INTERNAL_ERROR
    assert error.error_id == letter.properties.headers["lab-error-id"]  # type: ignore[attr-defined]
