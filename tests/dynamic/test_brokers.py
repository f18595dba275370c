"""Brokers that are killed or frozen: readings are void, workers held, nothing that was confirmed is lost."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lab.brokers import Broker, rabbitmq_broker, redis_broker
from lab.brokers.server import Server
from lab.errors import Unavailable
from lab.settings import settings
from rabbitmq.tuned.queues import QUEUE_TYPES
from tests.dynamic.rig import Load, Program, Rig, number, workers
from tests.eventually import eventually

AWAY_SECONDS = 3.0


@pytest.fixture(scope="module")
def brokers() -> Iterator[tuple[Broker, Broker]]:
    """A RabbitMQ and a Redis of our own."""
    with ExitStack() as stack:
        try:
            rabbitmq = stack.enter_context(rabbitmq_broker(settings(), private=True))
            redis = stack.enter_context(redis_broker(settings(), private=True))
        except Unavailable as error:
            if settings().require_brokers:
                raise
            pytest.skip(str(error))
        yield rabbitmq, redis


@pytest.fixture
def rig(brokers: tuple[Broker, Broker]) -> Iterator[Rig]:
    with Rig(brokers[0].url, brokers[1].url) as rig:
        yield rig


@pytest.mark.parametrize("queue_type", QUEUE_TYPES)
def test_a_broker_that_is_killed_and_comes_back_costs_no_event_and_no_worker(
    rig: Rig, brokers: tuple[Broker, Broker], queue_type: str
) -> None:
    load, controller = _under_load(rig, "--min", "1", "--max", "4", "--queue-type", queue_type)
    before = workers(rig.client())
    server = _server(brokers[0])
    with load.at(60):
        server.kill()
        eventually(lambda: _void(controller) >= 2, within=20.0)
        held = controller.readings()[-1]["decision"]["wanted"]
        assert held >= 1
        assert set(before) <= {*workers(rig.client())}
        server.start()
        eventually(lambda: not controller.readings()[-1]["trouble"], within=30.0)
    load.assert_none_lost(within=60.0)
    seen = [reading["sample"]["arrivals"] or 0 for reading in controller.readings()]
    eventually(lambda: controller.readings()[-1]["sample"]["backlog"] == 0, within=20.0)
    assert sum(seen) > 0.5 * load.sent
    assert controller.end() == 0


def test_a_frozen_broker_voids_readings_and_costs_nothing(rig: Rig, brokers: tuple[Broker, Broker]) -> None:
    load, controller = _under_load(rig, "--policy", "static:workers=2")
    server = _server(brokers[0])
    with load.at(60):
        os.kill(server.pid, signal.SIGSTOP)
        try:
            eventually(lambda: _void(controller) >= 1, within=20.0)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        eventually(lambda: not controller.readings()[-1]["trouble"], within=30.0)
        assert len(workers(rig.client())) == 2
    load.assert_none_lost(within=60.0)
    assert controller.end() == 0


def test_a_redis_that_is_away_for_seconds_costs_nothing(rig: Rig, brokers: tuple[Broker, Broker]) -> None:
    load, controller = _under_load(rig, "--policy", "static:workers=2")
    server = _server(brokers[1])
    with load.at(60):
        server.kill()
        time.sleep(AWAY_SECONDS)
        server.start()
    load.assert_none_lost(within=60.0)
    assert controller.end() == 0


def test_failures_of_workers_that_nobody_wants_any_more_are_forgotten(
    rig: Rig, brokers: tuple[Broker, Broker]
) -> None:
    pool = rig.pool("--max", "2", "--spares", "0")
    server = _server(brokers[0])
    server.kill()
    try:
        pool.scale(1)
        eventually(lambda: number(pool, "failures") > 0, within=20.0)
        pool.scale(0)
        eventually(lambda: number(pool, "failures") == 0, within=20.0)
    finally:
        server.start()


def _under_load(rig: Rig, *arguments: str) -> tuple[Load, Program]:
    controller = rig.controller("--work-time", "20ms", *arguments)
    load = Load(rig, arguments[-1] if arguments[-1] in QUEUE_TYPES else "")
    load.send(100)
    eventually(lambda: load.done > 20 and workers(rig.client()))
    return load, controller


def _void(controller: Program) -> int:
    return sum(reading["sample"]["arrivals"] is None for reading in controller.readings())


def _server(broker: Broker) -> Server:
    assert broker.server is not None
    return broker.server
