"""Count_queue: every event is counted once, over many purges, and what is asked of it later is not lost."""

import time

from dynamic.events import COUNT_ARGUMENTS
from dynamic.queues import EventQueues
from dynamic.sender import EventSender
from rabbitmq.tuned.wire import retry_of
from tests.dynamic.rig import Rig, ask_broker
from tests.eventually import eventually

EVENTS = 20_000


def test_every_event_is_counted_once_over_many_purges(rig: Rig) -> None:
    with EventQueues(rig.amqp_url, rig.names, "classic") as queues, _sender(rig) as sender:
        counts: list[int | None] = []
        for number in range(EVENTS):
            sender.send("tonto", str(number), time.monotonic_ns())
            if number % 500 == 0:
                counts.append(queues.read().arrivals)
        assert sender.settle(30.0)
        counts.append(queues.read().arrivals)
        assert len(counts) > 40
        assert sum(count or 0 for count in counts) == EVENTS
        eventually(lambda: queues.read().waiting == EVENTS)


def test_texts_on_the_retry_queue_wait_too(rig: Rig) -> None:
    with EventQueues(rig.amqp_url, rig.names, "classic") as queues:
        ask_broker(rig, lambda channel: channel.basic_publish("", rig.names.work, b"one"))
        ask_broker(rig, lambda channel: channel.basic_publish("", retry_of(rig.names.work), b"another"))
        eventually(lambda: queues.read().waiting == 2)


def test_the_queue_of_counts_is_bounded_and_expires(rig: Rig) -> None:
    with EventQueues(rig.amqp_url, rig.names, "classic"):
        asked = dict(COUNT_ARGUMENTS)
        ask_broker(rig, lambda channel: channel.queue_declare(rig.names.count, durable=True, arguments=asked))
    assert int(str(asked["x-max-length"])) >= EVENTS
    assert int(str(asked["x-expires"])) >= 600_000


def test_nothing_of_the_namespace_is_left_when_it_is_deleted(rig: Rig) -> None:
    rig.pool("--max", "1").scale(1)
    with EventQueues(rig.amqp_url, rig.names, "classic") as queues, _sender(rig) as sender:
        sender.send("tonto", "1", time.monotonic_ns())
        sender.settle(10.0)
        rig.end_all()
        queues.delete()
    left = [queue for queue in (*rig.names.queues, rig.names.count) if _exists(rig, queue)]
    assert left == []


def _sender(rig: Rig) -> EventSender:
    return EventSender(rig.amqp_url, rig.names)


def _exists(rig: Rig, queue: str) -> bool:
    return ask_broker(rig, lambda channel: channel.queue_declare(queue, passive=True))
