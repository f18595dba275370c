"""Workers of a pool: quick to start, the oldest leave first, and nothing is lost or done twice on the way."""

import statistics

import psutil
import pytest

from dynamic.pool.client import PoolClient
from dynamic.pool.pool import STARTING_AT_ONCE
from tests.dynamic.rig import Load, Rig, number, workers
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
