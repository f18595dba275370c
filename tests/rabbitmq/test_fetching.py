"""A node fetches a message and gets it too late. The test answers in place of the broker."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pika.spec import Basic, BasicProperties

from lab.errors import Unavailable
from rabbitmq.tuned.delivery import Delivery
from rabbitmq.tuned.server import FetchingConsumer
from tests.eventually import eventually


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


class Connection:
    """Does the work of the I/O thread at once."""

    def call(self, work: Callable[[], None]) -> bool:
        work()
        return True


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
def consumer(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> FetchingConsumer:
    monkeypatch.setattr("rabbitmq.tuned.server.FETCH_SECONDS", 0.05)
    consumer = FetchingConsumer(Connection, ["control"], lambda delivery: [], 1)  # type: ignore[arg-type]
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
