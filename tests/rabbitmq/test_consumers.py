"""A node's consumers in this process: work that fails is tried again, alone, and becomes a dead letter."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pika.spec import BasicProperties

from lab.errors import InternalError, Unavailable
from lab.options import NodeOptions
from lab.store.namespace import throwaway_namespace
from rabbitmq.tuned.delivery import Delivery
from rabbitmq.tuned.node import QueueNode, consumers
from rabbitmq.tuned.queues import delete_namespace
from rabbitmq.tuned.wire import Message, Names, read_reply
from tests.eventually import eventually
from tests.rabbitmq.rig import channel_to, letters

PERSISTENT = 2


@contextmanager
def serving(namespace: str, handler: Callable[[Delivery], list[Message]]) -> Iterator[QueueNode]:
    """Serve the work queue of *namespace* by *handler*."""
    work = Names(namespace).work
    options = NodeOptions(namespace=namespace)
    server = QueueNode(
        options, lambda connection: consumers(connection, work, handler, 10), "classic", retried=[work]
    )
    server.start()
    server.join()
    try:
        yield server
    finally:
        server.drain(5.0)


@pytest.fixture
def names(amqp_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    monkeypatch.setattr("rabbitmq.tuned.node.locate_rabbitmq", lambda: amqp_url)
    namespace = throwaway_namespace()
    yield Names(namespace)
    delete_namespace(amqp_url, namespace)


def namespace_of(names: Names) -> str:
    return names.work.partition(".")[0]


def publish(url: str, queue: str, body: bytes, **properties: object) -> None:
    with channel_to(url) as channel:
        channel.basic_publish("", queue, body, BasicProperties(delivery_mode=PERSISTENT, **properties))


def test_work_that_fails_is_tried_again_with_back_off_and_then_becomes_a_dead_letter(
    amqp_url: str, names: Names
) -> None:
    tried: list[bytes] = []

    def fail_on_some(delivery: Delivery) -> list[Message]:
        tried.append(delivery.body)
        if delivery.body == b"bad" or (delivery.body == b"once" and tried.count(b"once") == 1):
            raise ZeroDivisionError
        return []

    dead: list[tuple[BasicProperties, bytes]] = []
    with serving(namespace_of(names), fail_on_some):
        for body in (b"bad", b"once", b"good"):
            publish(amqp_url, names.work, body, message_id=body.decode())
        eventually(lambda: dead.extend(letters(amqp_url, f"{names.work}.dead")) or dead)  # type: ignore[func-returns-value]
        eventually(lambda: len(tried) == 7)
    ((properties, body),) = dead
    assert (body, properties.message_id) == (b"bad", "bad")
    assert properties.headers["lab-reason"] == "4 attempts at it failed, the last by ZeroDivisionError"
    assert sorted(tried) == [b"bad"] * 4 + [b"good"] + [b"once"] * 2


def test_a_client_that_waits_is_told_at_once_that_the_work_failed(amqp_url: str, names: Names) -> None:
    def fail(delivery: Delivery) -> list[Message]:
        raise ZeroDivisionError

    with serving(namespace_of(names), fail), channel_to(amqp_url) as channel:
        replies = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_publish("", names.work, b"bad", BasicProperties(reply_to=replies))
        reply = next(channel.consume(replies, auto_ack=True, inactivity_timeout=10))
    error = read_reply(reply[1], reply[2])
    assert isinstance(error, InternalError)
    assert letters(amqp_url, f"{names.work}.dead") == []


def test_a_node_that_stops_while_the_store_is_away_gives_its_work_to_others(
    amqp_url: str, names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    def away(delivery: Delivery) -> list[Message]:
        raise Unavailable("the store is away")

    done: list[bytes] = []

    def work(delivery: Delivery) -> list[Message]:
        done.append(delivery.body)
        return []

    bodies = [str(number).encode() for number in range(5)]
    with caplog.at_level(logging.WARNING), serving(namespace_of(names), away):
        for body in bodies:
            publish(amqp_url, names.work, body)
        eventually(lambda: "the store is away" in caplog.text)
    with serving(namespace_of(names), work):
        eventually(lambda: sorted(done) == bodies)


def test_a_queue_with_other_arguments_is_one_clear_error(amqp_url: str, names: Names) -> None:
    with channel_to(amqp_url) as channel:
        channel.queue_declare(f"{names.work}.retry", durable=True, arguments={"x-max-length": 1})
    server = QueueNode(
        NodeOptions(namespace=namespace_of(names)), lambda connection: [], "classic", names, [names.work]
    )
    with pytest.raises(Exception, match=r"of another kind.*use another --namespace") as raised:
        server.start()
    assert "inequivalent arg" in str(raised.value)
