"""Workers of a pool: quick to start, the oldest leave first; what users may choose; how programs end."""

import signal
import statistics

import psutil
import pytest

from dynamic.pool.client import PoolClient
from dynamic.pool.pool import STARTING_AT_ONCE
from lab.process.launcher import usable_cores
from tests.dynamic.conftest import Load, Rig, number, workers
from tests.eventually import eventually


def test_a_spare_worker_takes_its_first_event_at_once(
    rig: Rig, load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = rig.pool("--max", "1", "--spares", "1")
    first: list[float] = []
    for turn in range(20):
        eventually(lambda: workers(pool, "spare") and not workers(pool, "leaving"))
        load.send(1)
        pool.scale(1)
        eventually(lambda turn=turn: load.done == turn + 1)  # type: ignore[misc]
        status = pool.scale(0)
        first += [worker.first_seconds for worker in status.workers if worker.first_seconds]
    with capsys.disabled():
        print(f"\nfirst event after (20 workers): median {1000 * statistics.median(first):.1f} ms", end=", ")
        print(f"from {1000 * min(first):.1f} to {1000 * max(first):.1f} ms")
    assert len(first) == 20


def test_the_oldest_workers_leave_first(rig: Rig) -> None:
    pool = rig.pool("--max", "5")
    scale(pool, 3)
    old = workers(pool)
    scale(pool, 5)
    young = workers(pool)[3:]
    assert workers(pool)[:3] == old
    scale(pool, 2)
    assert workers(pool) == young


def test_a_pool_keeps_to_its_most_workers(rig: Rig) -> None:
    pool = rig.pool("--max", "2")
    pool.scale(100)
    eventually(lambda: len(workers(pool)) == 2)
    assert number(pool, "wanted") == 2


def test_a_large_batch_starts_in_turn_and_counts_as_starting_from_the_wish_on(rig: Rig) -> None:
    pool = rig.pool("--max", "20", "--spares", "0")
    status = pool.scale(20)
    assert status.starting == 20
    assert len(status.workers) <= STARTING_AT_ONCE
    eventually(lambda: len(workers(pool)) == 20)


def test_a_pool_forks_from_a_single_thread(rig: Rig) -> None:
    pool = rig.pool("--max", "2")
    scale(pool, 2)
    assert psutil.Process(number(pool, "pid")).num_threads() == 1


def test_fifteen_cycles_up_and_down_lose_nothing_and_do_nothing_twice(rig: Rig, load: Load) -> None:
    pool = rig.pool("--max", "8", "--work-time", "5ms")
    with load.at(60):
        for _ in range(15):
            pool.scale(8)
            eventually(lambda: len(workers(pool)) >= 3, within=30.0)
            pool.scale(1)
            eventually(lambda: len(workers(pool)) <= 1, within=30.0)
    scale(pool, 8)
    load.assert_none_lost()
    assert load.repeated == 0
    assert number(pool, "crashed") == 0
    assert number(pool, "finished") == load.sent


def test_thirty_workers_start_at_once(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    pool = rig.pool("--max", "30", "--spares", "0")
    scale(pool, 30)
    status = pool.status()
    slowest = max(worker.start_seconds or 0.0 for worker in status.workers)
    with capsys.disabled():
        print(f"\n30 cold workers: all ready after {slowest:.2f} s")


def test_how_many_are_under_way_and_were_finished_is_counted(rig: Rig, load: Load) -> None:
    pool = rig.pool("--max", "3", "--work-time", "300ms", "--prefetch", "2")
    load.send(9)
    scale(pool, 3)
    eventually(lambda: number(pool, "under_way") == 6)
    load.assert_none_lost()
    eventually(lambda: (number(pool, "under_way"), number(pool, "finished")) == (0, 9))


def scale(pool: PoolClient, wanted: int) -> None:
    """Wait until *wanted* workers take events, and all others are gone."""
    pool.scale(wanted)
    eventually(lambda: len(workers(pool)) == wanted and not workers(pool, "leaving"), within=20.0)


def test_without_load_there_is_no_worker_and_with_load_there_is(rig: Rig, load: Load) -> None:
    controller = rig.controller("--min", "0", "--max", "1")
    client = rig.client()
    eventually(controller.readings)
    assert workers(client) == []
    with load.at(50):
        eventually(lambda: load.done > 20, within=20.0)
        assert len(workers(client)) == 1
    eventually(lambda: workers(client) == [], within=30.0)
    load.assert_none_lost()


def test_queues_may_be_quorum_queues(rig: Rig) -> None:
    load = Load(rig, "quorum")
    rig.controller("--queue-type", "quorum", "--min", "2")
    load.send(200)
    load.assert_none_lost()
    assert load.repeated == 0


def test_one_node_needs_no_redis(rig: Rig, load: Load) -> None:
    rig.environment["LAB_REDIS_URL"] = "redis://127.0.0.1:1/0"
    rig.controller("--architecture", "one-node", "--min", "2")
    load.send(200)
    load.assert_none_lost()


def test_a_policy_is_told_what_processor_time_the_workers_use(rig: Rig, load: Load) -> None:
    controller = rig.controller("--work-cpu", "20ms", "--policy", "static:workers=2")
    with load.at(50):
        eventually(lambda: [one for one in controller.readings() if one["sample"]["cpu_seconds"] > 0.05])
    assert controller.readings()[-1]["sample"]["cores"] == usable_cores()


ENDS = [(signal.SIGINT, 130), (signal.SIGTERM, 0)]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(("how", "code"), ENDS)
def test_a_controller_ends_with_its_workers(
    rig: Rig, load: Load, how: signal.Signals, code: int, times: int
) -> None:
    controller = rig.controller("--policy", "static:workers=2", "--work-time", "300ms")
    client = rig.client()
    load.send(20)
    eventually(lambda: len(workers(client)) == 2)
    for _ in range(times):
        controller.process.send_signal(how)
    assert controller.wait() == code
    assert "Traceback" not in controller.err
    rig.assert_nothing_left()
    assert load.repeated == 0


def test_a_controller_that_is_told_to_stop_while_it_starts_leaves_nothing(rig: Rig) -> None:
    for lead in (0.3, 0.6, 0.9):
        controller = rig.run("dynamic", "--min", "2")
        with pytest.raises(AssertionError):
            eventually(lambda: False, within=lead)
        controller.process.send_signal(signal.SIGINT)
        assert controller.wait() in (130, -signal.SIGINT)
        rig.assert_nothing_left()


@pytest.mark.parametrize(("how", "code"), ENDS)
def test_a_pool_drains(rig: Rig, load: Load, how: signal.Signals, code: int) -> None:
    pool = rig.run("dynamic.pool", "--max", "2", "--work-time", "300ms")
    pool.wait_ready()
    client = rig.client()
    load.send(6)
    client.scale(2)
    eventually(lambda: len(workers(client)) == 2)
    for process in rig.processes():  # as a terminal does: to all of the group
        process.send_signal(how)
    assert pool.wait() == code
    rig.assert_nothing_left()
    assert load.repeated == 0


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(("how", "code"), ENDS)
def test_a_publisher_ends(rig: Rig, how: signal.Signals, code: int, times: int) -> None:
    publisher = rig.run("dynamic.publisher", "--rate", "100")
    eventually(lambda: "sent" in publisher.out)
    for _ in range(times):
        publisher.process.send_signal(how)
    assert publisher.wait() == code
    assert publisher.err == ""
