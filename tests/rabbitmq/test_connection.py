"""A connection that is lost, consumers that are cancelled, texts that are fetched, and requests that wait."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from pika.spec import Basic, BasicProperties

from harness.faults.proxy import Harm, Proxy
from lab.contract import Target
from lab.errors import InternalError, LabError, Unavailable
from lab.options import NodeOptions
from lab.store.namespace import throwaway_namespace
from rabbitmq.insult_filter import InsultFilterClient
from rabbitmq.tuned.client import Request
from rabbitmq.tuned.connection import Connection
from rabbitmq.tuned.delivery import Delivery
from rabbitmq.tuned.node import QueueNode, consumers
from rabbitmq.tuned.server import FetchingConsumer
from rabbitmq.tuned.wire import Message, Names, delete_namespace, read_reply
from tests.eventually import eventually
from tests.rabbitmq.conftest import PrivateRabbit, Worker, channel_to, letters


def test_a_connection_that_is_closed_while_it_connects_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    monkeypatch.setattr("rabbitmq.tuned.connection.CONNECT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}/"
        connection = Connection(url, lambda _: None, lambda: None)

        def start() -> None:
            with suppress(LabError):
                connection.start()

        starting = threading.Thread(target=start, daemon=True)
        starting.start()
        stream, _ = silent.accept()
        with stream:
            assert stream.recv(8) == b"AMQP\x00\x00\x09\x01"
            connection.close()
            eventually(lambda: not any(thread.name == "amqp" for thread in threading.enumerate()))
        starting.join()
    assert said == []


def test_a_connection_over_which_nothing_arrives_is_replaced_before_the_deadline(
    rabbit: PrivateRabbit,
) -> None:
    url = urlsplit(rabbit.url)
    with Proxy(1, {Harm.BLACK_HOLE: 1.0}) as proxy:
        port = proxy.listen("127.0.0.1", 0, str(url.hostname), url.port or 0)
        target = Target(rabbit.url.replace(f":{url.port}/", f":{port}/"), namespace="swallowed")
        with InsultFilterClient(target) as client:
            client.submit("tonto")
            proxy.is_armed = True
            asking = Worker(lambda: client.submit("tonto"))
            eventually(lambda: proxy.done[Harm.BLACK_HOLE] > 0)
            proxy.is_armed = False
            asking.finish()


class Raced(Future[object]):
    """A future that another thread answers just after done() said False."""

    def done(self) -> bool:
        was_done = super().done()
        if not was_done:
            self.set_result(b"the other thread's")
        return was_done


def request() -> Request:
    return Request(Message("", b"", BasicProperties()), wants_reply=True)


def test_a_request_that_another_thread_answers_at_the_same_time_is_no_error() -> None:
    raced = request()
    raced.answer = Raced()
    raced.settle(Unavailable("the client is closed"))
    assert raced.answer.done()


def test_the_first_answer_stays() -> None:
    answered = request()
    answered.settle(b"first")
    answered.settle(Unavailable("too late"))
    assert answered.answer.result(0) == b"first"


def test_after_an_interrupt_while_a_request_is_handed_over_the_next_ones_are_sent(
    rabbit: PrivateRabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(work: object) -> bool:
        raise KeyboardInterrupt

    with InsultFilterClient(Target(rabbit.url, namespace="interrupted")) as client:
        with monkeypatch.context() as patched:
            patched.setattr(client._connection, "do", interrupted)
            with pytest.raises(KeyboardInterrupt):
                client.submit("tonto")
        assert client.submit("tonto")
    delete_namespace(rabbit.url, "interrupted")


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


class Channel:
    """Notes the calls; the test decides when it answers."""

    is_open = True

    def __init__(self) -> None:
        self.got: Callable[..., None] | None = None
        self.empty: Callable[[object], None] = lambda _: None
        self.put_back: list[int] = []
        self.acknowledged: list[tuple[int, bool]] = []

    def basic_get(self, queue: str, callback: Callable[..., None]) -> None:
        assert self.got is None, "a second request before the first was answered: pika refuses it"
        self.got = callback

    def answer(self, tag: int) -> None:
        got, self.got = self.got, None
        assert got
        got(self, Basic.GetOk(delivery_tag=tag, redelivered=False), BasicProperties(), b"tonto")

    def add_callback(self, callback: Callable[[object], None], replies: object, one_shot: bool) -> None:
        self.empty = callback

    def basic_nack(self, tag: int, requeue: bool) -> None:
        assert requeue
        self.put_back.append(tag)

    def basic_ack(self, tag: int, multiple: bool) -> None:
        self.acknowledged.append((tag, multiple))

    def __getattr__(self, name: str) -> Callable[..., object]:
        return lambda *arguments, **options: None


class IoAtOnce:
    """Does the work of the I/O thread at once."""

    def call(self, work: Callable[[], None]) -> bool:
        work()
        return True

    do = call


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
def consumer(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> FetchingConsumer:
    monkeypatch.setattr("rabbitmq.tuned.server.FETCH_SECONDS", 0.05)
    consumer = FetchingConsumer(IoAtOnce, ["control"], lambda delivery: [], 1)  # type: ignore[arg-type]
    consumer.open(channel)
    return consumer


def deliver(consumer: FetchingConsumer, channel: Channel, tag: int) -> None:
    """Deliver a question on the control queue. Its handler fetches nothing."""
    consumer._delivered(channel, Basic.Deliver("consumer", tag, False, "", ""), BasicProperties(), b"")


def test_a_message_that_comes_too_late_is_handed_back_and_never_acknowledged(
    consumer: FetchingConsumer, channel: Channel
) -> None:
    with pytest.raises(Unavailable, match="in time"):
        consumer.fetch("work")
    consumer.put_back()
    channel.answer(tag=7)
    assert channel.put_back == [7]
    deliver(consumer, channel, 6)
    eventually(lambda: channel.acknowledged)
    assert channel.acknowledged == [(6, True)], "the question alone, not the text with the later tag"


def test_a_second_request_before_a_late_answer_is_refused_and_the_next_one_served(
    consumer: FetchingConsumer, channel: Channel
) -> None:
    with pytest.raises(Unavailable):
        consumer.fetch("work")
    with pytest.raises(Unavailable, match="has not answered the last request"):
        consumer.fetch("work")
    channel.answer(tag=7)
    assert channel.put_back == [7]
    assert fetched(consumer, channel, tag=8).tag == 8
    assert channel.put_back == [7]


def test_a_late_answer_that_the_queue_is_empty_ends_no_later_request(
    consumer: FetchingConsumer, channel: Channel
) -> None:
    with pytest.raises(Unavailable):
        consumer.fetch("work")
    channel.got = None
    channel.empty(None)
    assert fetched(consumer, channel, tag=8).tag == 8


def test_a_request_that_is_under_way_when_the_connection_breaks_ends_at_once(
    consumer: FetchingConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rabbitmq.tuned.server.FETCH_SECONDS", 60.0)
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(consumer.fetch, "work")
        eventually(lambda: consumer._asked)
        consumer.lost()
        with pytest.raises(Unavailable, match="lost"):
            asked.result(10.0)


def fetched(consumer: FetchingConsumer, channel: Channel, tag: int) -> Delivery:
    """Fetch a message that comes in time."""
    get = channel.basic_get

    def answer(queue: str, callback: Any) -> None:
        get(queue, callback)
        channel.answer(tag)

    channel.basic_get = answer  # type: ignore[method-assign]
    delivery = consumer.fetch("work")
    assert delivery
    return delivery
