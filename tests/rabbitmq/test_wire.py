"""Whatever is published to a RabbitMQ node's queue gets a reply with its code; the node goes on serving."""

import gzip
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pika
import pytest
from pika import data
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import BasicProperties

from lab.cluster import Cluster
from lab.contract import Application, Architecture
from lab.errors import Code
from tests.eventually import eventually
from tests.wire import (
    ANSWER_SECONDS,
    BROKEN_RESULT,
    INSULT,
    assert_internal_error,
    assert_refused,
    assert_same_process,
    break_a_result,
    each,
    one_node,
)

MEBIBYTE = 1024 * 1024
ENCODE_VALUE: Callable[[list[bytes], object], int] = data.encode_value

Properties = dict[str, object]


class Written:
    """A header's value as it stands on the wire, its type's letter first, which pika would never write."""

    def __init__(self, kind: bytes, value: bytes) -> None:
        self.bytes = kind + value


def nested(kind: bytes, prefix: bytes = b"") -> Written:
    """Return tables or arrays in one another, 5,000 of them."""
    value = b"t\x01"
    for _ in range(5_000):
        value = kind + struct.pack(">I", len(prefix + value)) + prefix + value
    return Written(b"", value)


def asking(code: str, **fields: object) -> tuple[Properties, bytes]:
    """Return an event with *code*, and *fields* as JSON."""
    return {"type": code}, json.dumps(fields).encode() if fields else b""


FAR_TOO_LATE = Written(b"T", struct.pack(">Q", 2**62))
DEEP_JSON = b'{"after": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

KINDS: dict[str, tuple[Properties, bytes, Code]] = {
    "an empty body": ({}, b"", Code.MALFORMED),
    "an insult of spaces": ({}, b"  \t ", Code.MALFORMED),
    "an insult too long": ({}, b"x" * 201, Code.TOO_LARGE),
    "a body too long": ({}, b"x" * (MEBIBYTE + 1), Code.TOO_LARGE),
    "a body far too long": ({}, b"x" * 8 * MEBIBYTE, Code.TOO_LARGE),
    "not UTF-8": ({}, b"\xff\xfe", Code.BAD_ENCODING),
    "Latin-1": ({}, "est\u00fapido".encode("latin-1"), Code.BAD_ENCODING),
    "UTF-16": ({}, INSULT.encode("utf-16"), Code.BAD_ENCODING),
    "a lone surrogate": ({}, b"\xed\xa0\x80", Code.BAD_ENCODING),
    "a compressed body": ({"content_encoding": "gzip"}, gzip.compress(INSULT.encode()), Code.BAD_ENCODING),
    "a control character": ({}, b"a\x00b", Code.MALFORMED),
    "a line break in an insult": ({}, b"a\nb", Code.MALFORMED),
    "an unknown operation": (*asking("X9"), Code.UNKNOWN_OPERATION),
    "an operation by its name": (*asking("insult_me"), Code.UNKNOWN_OPERATION),
    "an operation in lower case": (*asking("x1"), Code.UNKNOWN_OPERATION),
    "an operation with a control character": (*asking("X\x1b[2J"), Code.UNKNOWN_OPERATION),
    "an operation as long as there can be": (*asking("x" * 255), Code.UNKNOWN_OPERATION),
    "an operation that is not UTF-8": ({"type": b"\xff"}, b"", Code.BAD_ENCODING),
    "an unknown operation in the header": ({"headers": {"operation": "X9"}}, b"", Code.UNKNOWN_OPERATION),
    "a number as the operation": ({"headers": {"operation": 1}}, b"", Code.UNKNOWN_OPERATION),
    "a table as the operation": ({"headers": {"operation": {"X": 1}}}, b"", Code.UNKNOWN_OPERATION),
    "an operation in the header that is not UTF-8": (
        {"headers": {"operation": Written(b"S", b"\0\0\0\1\xff")}},
        b"",
        Code.BAD_ENCODING,
    ),
    "a time in a header that is far too late": ({"headers": {"x": FAR_TOO_LATE}}, b"", Code.MALFORMED),
    "headers nested too deeply": ({"headers": {"x": nested(b"F", b"\1a")}}, b"", Code.MALFORMED),
    "arrays nested too deeply": ({"headers": {"x": nested(b"A")}}, b"", Code.MALFORMED),
    "unreadable headers beside an operation": (
        {"content_type": "text/plain", "content_encoding": "x", "type": "X1", "headers": {"x": FAR_TOO_LATE}},
        b"",
        Code.MALFORMED,
    ),
    "an operation id too long": ({"message_id": "x" * 129}, INSULT.encode(), Code.TOO_LARGE),
    "an operation id with a space": ({"message_id": "one two"}, INSULT.encode(), Code.MALFORMED),
    "an operation id that is not ASCII": ({"message_id": "\u00f1"}, INSULT.encode(), Code.MALFORMED),
    "an operation id that is not UTF-8": ({"message_id": b"\xff"}, INSULT.encode(), Code.BAD_ENCODING),
    "not JSON": ({"type": "X4"}, b"after=a", Code.MALFORMED),
    "JSON cut short": ({"type": "X4"}, b'{"limit": 1', Code.MALFORMED),
    "JSON that is no object": ({"type": "X4"}, b"[1]", Code.WRONG_TYPE),
    "JSON that is not UTF-8": ({"type": "X4"}, b'{"after": "\xff"}', Code.BAD_ENCODING),
    "JSON nested too deeply": ({"type": "X4"}, DEEP_JSON, Code.MALFORMED),
    "a number far too large": ({"type": "X4"}, b'{"limit": %b}' % (b"9" * 10_000), Code.MALFORMED),
    "a lone surrogate in JSON": (*asking("X4", after="\ud800"), Code.BAD_ENCODING),
    "a text in place of a number": (*asking("X4", limit="ten"), Code.WRONG_TYPE),
    "a truth value in place of a number": (*asking("X4", limit=True), Code.WRONG_TYPE),
    "an infinite number": (*asking("X4", limit=float("inf")), Code.WRONG_TYPE),
    "nothing in place of a text": (*asking("X4", after=None), Code.WRONG_TYPE),
    "a page too large": (*asking("X4", limit=1001), Code.TOO_LARGE),
    "a page of nothing": (*asking("X4", limit=0), Code.TOO_LARGE),
    "a name to begin after that is too long": (*asking("X4", after="x" * 201), Code.TOO_LARGE),
    "nothing to remove": (*asking("X5"), Code.MALFORMED),
    "something to remove that is too long": ({"type": "X5"}, b"x" * 201, Code.TOO_LARGE),
}

CONTROL: dict[str, tuple[Properties, bytes, Code]] = {
    "no operation": ({}, b"hello", Code.UNKNOWN_OPERATION),
    "an operation of the service": (*asking("X5"), Code.UNKNOWN_OPERATION),
    "an id that is a number": (*asking("X3", petition_id=7), Code.WRONG_TYPE),
    "an id that is too long": (*asking("X3", petition_id="x" * 129), Code.TOO_LARGE),
    "an id that is a lone surrogate": (*asking("X3", petition_id="\ud800"), Code.BAD_ENCODING),
    "an id of no result": (*asking("X3", petition_id="never"), Code.NOT_FOUND),
    "a page too large": (*asking("X3", limit=1001), Code.TOO_LARGE),
}

TEXTS: dict[str, tuple[Properties, bytes, Code]] = {
    "a text too long": ({}, b"x" * (64 * 1024 + 1), Code.TOO_LARGE),
    "a text too long in bytes": ({}, "\u5582".encode() * 30_000, Code.TOO_LARGE),
    "a text that is not UTF-8": ({}, b"tonto \xff", Code.BAD_ENCODING),
    "an id with a space": ({"message_id": "one two"}, b"tonto", Code.MALFORMED),
}

UNANSWERABLE: dict[str, tuple[Properties, bytes]] = {
    "nobody to reply to": ({}, b"a\nb"),
    "nobody to reply to and an unknown operation": asking("X9"),
    "nobody to reply to and unreadable headers": ({"headers": {"x": FAR_TOO_LATE}}, b""),
}

STRANGE_REPLY_QUEUES: dict[str, tuple[object]] = {
    "no queue of that name": ("lab-no-such-queue",),
    "as long as there can be": ("x" * 255,),
    "not UTF-8": (b"\xff",),
    "a reply queue of nobody": ("amq.rabbitmq.reply-to.nobody",),
}


class Client:
    """A bare connection with a queue for replies."""

    def __init__(self, url: str) -> None:
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


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    yield from one_node(request, "rabbitmq", Application.SERVICE)


@pytest.fixture(scope="module")
def filters(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    yield from one_node(request, "rabbitmq", Application.FILTER, Architecture.N_NODE)


@pytest.fixture
def client(amqp_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    def write(pieces: list[bytes], value: object) -> int:
        if not isinstance(value, Written):
            return ENCODE_VALUE(pieces, value)
        pieces.append(value.bytes)
        return len(value.bytes)

    monkeypatch.setattr(data, "encode_value", write)
    bare = Client(amqp_url)
    yield bare
    bare.close()


def service_queue(cluster: Cluster) -> str:
    return f"{cluster.namespace}.service"


def work_queue(cluster: Cluster) -> str:
    return f"{cluster.namespace}.filter"


def assert_serves(client: Client, cluster: Cluster) -> None:
    """The node that works on its queue in order has got past whatever came before."""
    if cluster.spec.application is Application.SERVICE:
        assert client.ask(service_queue(cluster), {}, INSULT.encode())[0] in ("true", "false")
    else:
        assert client.ask(work_queue(cluster), {}, f"quin {INSULT}".encode()) == ("quin CENSORED", "")
    assert_same_process(cluster)


@pytest.mark.parametrize(("properties", "body", "code"), each(KINDS))
def test_a_bad_event_gets_its_code_and_the_node_goes_on(
    node: Cluster, client: Client, properties: Properties, body: bytes, code: Code
) -> None:
    assert_refused(client.refusal(service_queue(node), properties, body), code)
    assert_serves(client, node)


@pytest.mark.parametrize(("properties", "body", "code"), each(CONTROL))
def test_a_bad_question_gets_its_code_and_the_filter_goes_on(
    filters: Cluster, client: Client, properties: Properties, body: bytes, code: Code
) -> None:
    assert_refused(client.refusal(f"{work_queue(filters)}.control", properties, body), code)
    assert_serves(client, filters)


@pytest.mark.parametrize(("properties", "body", "code"), each(TEXTS))
def test_a_bad_text_gets_its_code_and_the_filter_goes_on(
    filters: Cluster, client: Client, properties: Properties, body: bytes, code: Code
) -> None:
    assert_refused(client.refusal(work_queue(filters), properties, body), code)
    assert_serves(client, filters)


@pytest.mark.parametrize(("properties", "body"), each(UNANSWERABLE))
def test_a_bad_event_that_cannot_be_answered_is_logged_and_the_node_goes_on(
    node: Cluster, client: Client, properties: Properties, body: bytes
) -> None:
    before = len(node.launcher.logs(node.nodes[0]))
    client.publish(service_queue(node), properties, body)
    assert_serves(client, node)
    line = eventually(lambda: node.launcher.logs(node.nodes[0])[before:])
    assert "place to reply to: " in line
    assert "Traceback" not in line


@pytest.mark.parametrize("reply_to", each(STRANGE_REPLY_QUEUES))
def test_a_reply_that_cannot_be_delivered_harms_nobody(
    node: Cluster, client: Client, reply_to: object
) -> None:
    for code in ("X4", "X9"):
        client.publish(service_queue(node), {"type": code, "reply_to": reply_to}, b"")
        assert_serves(client, node)


def test_a_reply_to_the_nodes_own_queue_is_not_answered_for_ever(node: Cluster, client: Client) -> None:
    queue = service_queue(node)
    client.publish(queue, {"type": "X9", "reply_to": queue}, b"")
    assert_serves(client, node)
    eventually(lambda: "no operation 'error'" in node.launcher.logs(node.nodes[0]))


def test_a_correlation_id_that_is_not_utf_8_comes_back_as_it_was(node: Cluster, client: Client) -> None:
    for code in ("X9", "X4"):
        client.ask(service_queue(node), {"type": code, "correlation_id": b"\xff"})
    assert_serves(client, node)


def test_bad_events_are_not_delivered_again(node: Cluster, client: Client) -> None:
    for properties, body, _ in KINDS.values():
        client.publish(service_queue(node), properties, body)
    assert_serves(client, node)
    assert "connecting again" not in node.launcher.logs(node.nodes[0])


def test_a_failure_of_the_node_is_an_error_with_an_id_and_its_traceback_stays_in_the_log(
    filters: Cluster, client: Client, redis_url: str
) -> None:
    break_a_result(redis_url, filters)
    properties, body = asking("X3", petition_id=BROKEN_RESULT)
    assert_internal_error(filters, client.refusal(f"{work_queue(filters)}.control", properties, body))
    assert_serves(client, filters)
