"""Queues: every event is counted once; what is deleted, purged or filled comes back, and it is told."""

import time
from contextlib import closing
from typing import Any

import pytest
from pika.spec import BasicProperties

from dynamic.events import COUNT_ARGUMENTS, EventNames, EventQueues
from dynamic.publisher import EventSender
from lab.errors import Overloaded
from lab.store import open_store
from rabbitmq.tuned.wire import DIRECT_REPLY_TO, Names, retry_of
from tests.dynamic.conftest import Load, Program, Rig, ask_broker, workers
from tests.eventually import eventually

EVENTS = 5_000


def test_every_event_is_counted_once_over_many_purges(rig: Rig) -> None:
    with EventQueues(rig.amqp_url, rig.names, "classic") as queues, _sender(rig) as sender:
        counts: list[int | None] = []
        for number in range(EVENTS):
            sender.send("tonto", str(number), time.monotonic_ns())
            if number % 125 == 0:
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
    left = [
        queue
        for queue in (*Names(rig.namespace).queues, rig.names.work, rig.names.count)
        if _exists(rig, queue)
    ]
    assert left == []


def test_a_worker_knows_the_insults_that_came_after_its_pool_had_started(rig: Rig, load: Load) -> None:
    with closing(open_store(rig.redis_url, rig.namespace)) as store:
        assert store.remove_insult("tonto")
        pool = rig.pool("--max", "1", "--spares", "0")
        assert store.add_insult("tonto")
    load.send(5)
    pool.scale(1)
    load.assert_none_lost()  # and each is censored


def test_a_worker_answers_a_direct_reply_to_name(rig: Rig) -> None:
    rig.pool("--max", "1").scale(1)
    eventually(lambda: workers(rig.client()))
    answers: list[bytes] = []

    def ask(channel: Any) -> None:
        channel.basic_consume(DIRECT_REPLY_TO, lambda *got: answers.append(got[-1]), auto_ack=True)
        properties = BasicProperties(reply_to=DIRECT_REPLY_TO, correlation_id="1")
        channel.basic_publish("", rig.names.work, b"tonto", properties)
        eventually(lambda: channel.connection.process_data_events(0.1) or answers)

    assert ask_broker(rig, ask)
    assert answers == [b"CENSORED"]


def _sender(rig: Rig) -> EventSender:
    return EventSender(rig.amqp_url, rig.names)


def _exists(rig: Rig, queue: str) -> bool:
    return ask_broker(rig, lambda channel: channel.queue_declare(queue, passive=True))


HEALED_SECONDS = 10.0
"""A generous deadline: the design asks for 5 s."""


@pytest.fixture
def controller(rig: Rig, load: Load) -> Program:
    controller = rig.controller("--policy", "static:workers=2", "--work-time", "5ms")
    load.send(20)
    eventually(lambda: load.done == 20 and len(workers(rig.client())) == 2)
    return controller


@pytest.mark.parametrize("which", ["work", "count", "done", "retries"])
def test_a_queue_deleted_by_hand_under_load_is_there_again_and_served(
    rig: Rig, load: Load, controller: Program, which: str
) -> None:
    names = rig.names
    queue = retry_of(names.work) if which == "retries" else getattr(names, which)
    with load.at(60):
        assert ask_broker(rig, lambda channel: channel.queue_delete(queue))
        _assert_healed(load, controller)
    assert controller.end() == 0


def test_an_exchange_deleted_by_hand_under_load_is_bound_to_both_queues_again(
    rig: Rig, load: Load, controller: Program
) -> None:
    with load.at(60):
        assert ask_broker(rig, lambda channel: channel.exchange_delete(rig.names.events))
        _assert_healed(load, controller)
    load.assert_none_lost()


def test_events_are_bound_again_by_the_controller_alone(rig: Rig) -> None:
    names = rig.names
    with EventQueues(rig.amqp_url, names, "classic") as queues:
        for delete in (
            lambda channel: channel.queue_delete(names.work),
            lambda channel: channel.queue_delete(names.count),
            lambda channel: channel.exchange_delete(names.events),
            lambda channel: channel.queue_unbind(names.count, names.events),
        ):
            ask_broker(rig, delete)
            queues.read()
            ask_broker(rig, lambda channel: channel.basic_publish(names.events, "", b"one"))
            eventually(lambda: queues.read().arrivals == 1)


def test_a_purge_of_the_count_by_hand_does_not_hide_the_arrivals(rig: Rig) -> None:
    controller = rig.controller("--policy", "static:workers=1", "--work-time", "300ms")
    load = Load(rig)
    with load.at(300):
        eventually(lambda: _unbound(rig) and _troubles(controller), within=30.0)
    assert _troubles(controller)[0]["sample"]["arrivals"] > 50


def test_a_purged_work_queue_is_told(rig: Rig, load: Load) -> None:
    controller = rig.controller("--policy", "static:workers=1", "--work-time", "300ms")
    load.send(500)
    eventually(lambda: controller.readings() and controller.readings()[-1]["sample"]["backlog"] > 400)
    ask_broker(rig, lambda channel: channel.queue_purge(rig.names.work))
    eventually(lambda: [one for one in controller.readings() if "events are gone" in one["trouble"]])


def test_a_purge_whose_answer_is_lost_voids_the_reading_and_counting_begins_anew(rig: Rig) -> None:
    with EventQueues(rig.amqp_url, rig.names, "classic") as queues:
        queues._is_count_lost = True  # what a connection leaves that breaks between a purge and its answer
        assert queues.read().arrivals is None
        assert queues.read().arrivals == 0


def test_a_publisher_alone_restores_the_queues_that_its_events_need(rig: Rig) -> None:
    names = rig.names
    with _sender(rig) as sender:
        for number, delete in enumerate(
            (
                lambda channel: channel.exchange_delete(names.events),
                lambda channel: [channel.queue_delete(queue) for queue in (names.work, names.count)],
            )
        ):
            assert ask_broker(rig, delete)
            sender.send("tonto", str(number), time.monotonic_ns())
            eventually(lambda number=number: sender.confirmed == number + 1)  # type: ignore[misc]
            eventually(lambda: _ready(rig, names) == 1)
        assert sender.refused == 0


def test_a_publisher_is_told_that_the_work_queue_is_full_and_does_not_try_for_ever(rig: Rig) -> None:
    names = rig.names
    full = {"x-queue-type": "classic", "x-max-length": 5, "x-overflow": "reject-publish"}
    ask_broker(rig, lambda channel: channel.queue_declare(f"{names.work}.full", durable=True, arguments=full))
    with _sender(rig) as sender:
        ask_broker(rig, lambda channel: channel.queue_bind(f"{names.work}.full", names.events))
        try:
            for number in range(5):
                sender.send("tonto", str(number), time.monotonic_ns())
            assert sender.settle(10.0)
            sender.send("tonto", "refused", time.monotonic_ns())
            assert sender.settle(10.0)
            assert (sender.confirmed, sender.refused) == (5, 1)
            with pytest.raises(Overloaded, match="full"):
                sender.send("tonto", "not sent", time.monotonic_ns())
        finally:
            ask_broker(rig, lambda channel: channel.queue_delete(f"{names.work}.full"))
        eventually(lambda: _sends(sender))
        assert sender.settle(10.0)
        assert sender.confirmed == 6


def _assert_healed(load: Load, controller: Program) -> None:
    """Wait until what is sent from now on is answered, and counted."""
    readings = len(controller.readings())

    def healed() -> bool:
        new: list[dict[str, Any]] = controller.readings()[readings:]
        return any(one["sample"]["arrivals"] and not one["trouble"] for one in new)

    eventually(healed, within=HEALED_SECONDS)
    done = load.done
    eventually(lambda: load.done > done + 60, within=HEALED_SECONDS)


def _sends(sender: EventSender) -> bool:
    try:
        sender.send("tonto", "again", time.monotonic_ns())
    except Overloaded:
        return False
    return True


def _ready(rig: Rig, names: EventNames) -> int:
    found: list[Any] = []
    ask_broker(rig, lambda channel: found.append(channel.queue_purge(names.work).method.message_count))
    return int(found[0]) if found else 0


def _unbound(rig: Rig) -> bool:
    """Take Count_queue from the exchange: a publisher binds it again each second."""
    return ask_broker(rig, lambda channel: channel.queue_unbind(rig.names.count, rig.names.events))


def _troubles(controller: Program) -> list[dict[str, Any]]:
    return [one for one in controller.readings() if "Count_queue has" in one["trouble"]]
