"""What is killed, frozen or cut off: workers, controllers, pools. Nothing that was confirmed is lost."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from lab.process.launcher import ROOT
from tests.dynamic.rig import Load, Rig, ask_broker, number, workers
from tests.eventually import eventually


def test_workers_killed_every_second_and_one_frozen_are_replaced_and_nothing_is_lost(
    rig: Rig, load: Load
) -> None:
    pool = rig.pool("--max", "4", "--work-time", "10ms")
    pool.scale(4)
    eventually(lambda: len(workers(pool)) == 4)
    frozen = workers(pool)[-1]
    os.kill(frozen, signal.SIGSTOP)
    with load.at(60):
        for _ in range(5):
            killed = next(pid for pid in workers(pool) if pid != frozen)
            os.kill(killed, signal.SIGKILL)
            eventually(lambda killed=killed: killed not in workers(pool))  # type: ignore[misc]
            eventually(lambda: len(workers(pool)) == 4)
            time.sleep(1.0)  # the next one is killed a second later
    eventually(lambda: frozen not in workers(pool) and len(workers(pool)) == 4, within=20.0)
    load.assert_none_lost()
    assert number(pool, "crashed") == 6


def test_a_worker_that_does_not_start_is_tried_again_less_and_less_often(rig: Rig) -> None:
    foreign = rig.names.control
    assert ask_broker(rig, lambda channel: channel.queue_declare(foreign, durable=False))
    pool = rig.run("dynamic.pool", "--max", "5", "--spares", "0")
    pool.wait_ready()
    client = rig.client()
    client.scale(5)
    eventually(lambda: number(client, "failures") >= 4, within=20.0)
    assert number(client, "started") <= 12
    assert "Traceback" not in pool.err
    assert "of another kind" in pool.err
    assert "ended as soon as it began" in pool.err
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


def test_a_second_controller_is_told_so_and_disturbs_nothing(rig: Rig) -> None:
    first = rig.controller("--policy", "static:workers=2")
    client = rig.client()
    eventually(lambda: len(workers(client)) == 2)
    second = rig.run("dynamic", "--min", "1")
    assert second.wait() == 2
    assert second.err.count("\n") == 1
    assert "another controller" in second.err
    assert len(workers(client)) == 2
    assert first.process.poll() is None


def test_a_second_controller_is_told_so_wherever_it_keeps_its_socket(rig: Rig, tmp_path: Path) -> None:
    first = rig.controller("--policy", "static:workers=1")
    second = rig.run("dynamic", TMPDIR=str(tmp_path))
    assert second.wait() == 2
    assert second.err.count("\n") == 1
    assert "another controller" in second.err
    assert first.process.poll() is None


def test_a_second_pool_is_told_so_wherever_it_keeps_its_socket(rig: Rig, tmp_path: Path) -> None:
    pool = rig.pool("--max", "1")
    for folder in ({}, {"TMPDIR": str(tmp_path)}):
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
