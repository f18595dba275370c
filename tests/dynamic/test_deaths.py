"""What is killed, frozen or cut off: workers, controllers, pools, brokers. Nothing confirmed is lost."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from harness.faults.site import Brokers
from lab.brokers.server import Server
from lab.process.launcher import ROOT
from rabbitmq.tuned.wire import QUEUE_TYPES
from tests.dynamic.conftest import Load, Program, Rig, ask_broker, number, workers
from tests.eventually import eventually


def test_workers_killed_one_after_the_other_and_one_frozen_are_replaced_and_nothing_is_lost(
    rig: Rig, load: Load
) -> None:
    pool = rig.pool("--max", "4", "--work-time", "10ms")
    pool.scale(4)
    eventually(lambda: len(workers(pool)) == 4)
    frozen = workers(pool)[-1]
    os.kill(frozen, signal.SIGSTOP)
    with load.at(60):
        for _ in range(3):
            killed = next(pid for pid in workers(pool) if pid != frozen)
            os.kill(killed, signal.SIGKILL)
            eventually(lambda killed=killed: killed not in workers(pool))  # type: ignore[misc]
            eventually(lambda: len(workers(pool)) == 4)
    eventually(lambda: frozen not in workers(pool) and len(workers(pool)) == 4, within=20.0)
    load.assert_none_lost()
    assert number(pool, "crashed") == 4


def test_a_worker_that_does_not_start_is_tried_again_less_and_less_often(rig: Rig) -> None:
    foreign = rig.names.work
    assert ask_broker(rig, lambda channel: channel.queue_declare(foreign, durable=False))
    pool = rig.run("dynamic.pool", "--max", "5", "--spares", "0")
    pool.wait_ready()
    client = rig.client()
    client.scale(5)
    eventually(lambda: number(client, "failures") >= 4, within=20.0)
    assert number(client, "started") <= 12
    assert "Traceback" not in pool.err
    assert "of another kind" in pool.err
    assert "as soon as it began" in pool.err
    assert ask_broker(rig, lambda channel: channel.queue_delete(foreign))
    eventually(lambda: len(workers(client)) == 5, within=30.0)
    eventually(lambda: number(client, "failures") == 0)


def test_a_controller_that_is_killed_twice_under_load_leaves_its_workers_to_the_next(
    rig: Rig, load: Load
) -> None:
    arguments = ("--policy", "static:workers=3", "--max", "5", "--work-time", "10ms")
    controller = rig.controller(*arguments)
    client = rig.client()
    eventually(lambda: len(workers(client)) == 3)
    before = workers(client)
    with load.at(60):
        for _ in range(2):
            controller.process.kill()
            controller.wait()
            controller = rig.controller(*arguments)
            eventually(controller.readings)
    assert workers(client) == before
    assert "adopted 3 workers" in controller.err
    load.assert_none_lost()
    assert load.repeated == 0
    assert controller.end() == 0
    rig.assert_nothing_left()


def test_a_second_controller_is_told_so_wherever_it_keeps_its_socket_and_disturbs_nothing(rig: Rig) -> None:
    first = rig.controller("--policy", "static:workers=2")
    client = rig.client()
    eventually(lambda: len(workers(client)) == 2)
    for folder in ({}, {"TMPDIR": "/var/tmp"}):
        second = rig.run("dynamic", "--min", "1", **folder)
        assert second.wait() == 2
        assert second.err.count("\n") == 1
        assert "another controller" in second.err
    assert len(workers(client)) == 2
    assert first.process.poll() is None


def test_a_second_pool_is_told_so_wherever_it_keeps_its_socket(rig: Rig) -> None:
    pool = rig.pool("--max", "1")
    for folder in ({}, {"TMPDIR": "/var/tmp"}):  # a temporary folder of pytest may be too long for a socket
        second = rig.run("dynamic.pool", "--max", "1", **folder)
        assert second.wait() == 2
        assert second.err.count("\n") == 1
        assert "serves this namespace already" in second.err
    pool.scale(1)
    eventually(lambda: len(workers(pool)) == 1)


def test_a_clock_that_is_set_changes_only_what_is_shown() -> None:
    """Everything else is told by the monotonic clock, so that no jump of the wall clock is believed."""
    uses = [
        (file.name, line.strip())
        for file in (ROOT / "dynamic").rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if "time.time(" in line or "datetime" in line
    ]
    assert [file for file, _ in uses] == ["controller.py"], uses


def test_workers_end_with_a_killed_pool_and_the_controller_starts_another(rig: Rig, load: Load) -> None:
    controller = rig.controller("--policy", "static:workers=3", "--work-time", "10ms")
    client = rig.client()
    eventually(lambda: len(workers(client)) == 3)
    status = client.status()
    old = [worker.pid for worker in status.workers]
    with load.at(60):
        os.kill(status.pid, signal.SIGKILL)
        eventually(lambda: not {process.pid for process in rig.processes()} & {*old, status.pid})
        eventually(lambda: _ready(controller.readings()) == 3, within=30.0)
    load.assert_none_lost()
    assert controller.end() == 0
    rig.assert_nothing_left()


def test_a_pool_without_a_controller_drains_and_ends(rig: Rig, load: Load) -> None:
    pool = rig.pool("--max", "2", "--work-time", "200ms", "--orphan-time", "1s")
    load.send(4)
    pool.scale(2)
    eventually(lambda: number(pool, "under_way") == 2)
    pool.close()
    rig.assert_nothing_left()
    eventually(lambda: load.done >= 2)
    assert load.repeated == 0


def _ready(readings: list[dict[str, Any]]) -> int:
    return int(readings[-1]["sample"]["ready"]) if readings else 0


def _is_counting(reading: dict[str, Any]) -> bool:
    return bool(not reading["trouble"] and reading["sample"]["arrivals"])


AWAY_SECONDS = 3.0


@pytest.fixture
def own_rig(private_brokers: Brokers) -> Iterator[Rig]:
    """A rig on brokers of our own, which may be killed."""
    with Rig(private_brokers.urls.amqp, private_brokers.urls.redis) as rig:
        yield rig


def test_a_broker_that_is_killed_and_comes_back_costs_no_event_and_no_worker(
    private_brokers: Brokers,
) -> None:
    server = _server(private_brokers, "rabbitmq")
    with ExitStack() as stack:
        scaled = []
        for queue_type in QUEUE_TYPES:
            rig = stack.enter_context(Rig(private_brokers.urls.amqp, private_brokers.urls.redis))
            load, controller = _under_load(rig, "--min", "3", "--max", "3", "--queue-type", queue_type)
            stack.enter_context(load.at(60))
            client = rig.client()
            eventually(lambda one=client: len(workers(one)) == 3)  # type: ignore[misc]
            # Killed just after a quorum queue was declared, RabbitMQ 3.10 never serves that queue again.
            eventually(lambda one=load: one.done >= 200, within=60.0)  # type: ignore[misc]
            scaled.append((rig, load, controller, workers(client)))
        server.kill()
        try:
            for rig, _, controller, before in scaled:
                eventually(lambda one=controller: _void(one) >= 1, within=20.0)  # type: ignore[misc]
                assert controller.readings()[-1]["decision"]["wanted"] == 3
                assert set(before) <= {*workers(rig.client())}
        finally:
            server.start()
        for _, load, controller, _ in scaled:
            eventually(lambda one=controller: _is_counting(one.readings()[-1]), within=30.0)  # type: ignore[misc]
            load.stop()
            load.assert_none_lost(within=60.0)
            eventually(lambda one=controller: one.readings()[-1]["sample"]["backlog"] == 0, within=20.0)  # type: ignore[misc]
            assert controller.end() == 0


def test_a_frozen_broker_voids_readings_and_costs_nothing(own_rig: Rig, private_brokers: Brokers) -> None:
    load, controller = _under_load(own_rig, "--policy", "static:workers=2")
    server = _server(private_brokers, "rabbitmq")
    with load.at(60):
        os.kill(server.pid, signal.SIGSTOP)
        try:
            eventually(lambda: _void(controller) >= 1, within=20.0)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        eventually(lambda: not controller.readings()[-1]["trouble"], within=30.0)
        assert len(workers(own_rig.client())) == 2
    load.assert_none_lost(within=60.0)
    assert controller.end() == 0


def test_a_redis_that_is_away_for_seconds_costs_nothing(own_rig: Rig, private_brokers: Brokers) -> None:
    load, controller = _under_load(own_rig, "--policy", "static:workers=2")
    server = _server(private_brokers, "redis")
    with load.at(60):
        server.kill()
        time.sleep(AWAY_SECONDS)
        server.start()
    load.assert_none_lost(within=60.0)
    assert controller.end() == 0


def test_failures_of_workers_that_nobody_wants_any_more_are_forgotten(
    own_rig: Rig, private_brokers: Brokers
) -> None:
    pool = own_rig.pool("--max", "2", "--spares", "0")
    server = _server(private_brokers, "rabbitmq")
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


def _server(brokers: Brokers, kind: str) -> Server:
    server = brokers.by_kind[kind].server
    assert server is not None
    return server
