"""What a user may choose: bounds, queue type, architecture; and where more workers do not help."""

import pytest

from tests.dynamic.rig import Load, Program, Rig, workers
from tests.eventually import eventually

CPU_SECONDS = 30.0


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


@pytest.mark.slow
def test_workers_that_share_processors_stop_growing_and_say_why(rig: Rig, load: Load) -> None:
    controller = rig.controller("--work-cpu", "20ms", "--max", "20", "--interval", "2s")
    limited = "have not helped"
    with load.at(120):
        eventually(lambda: limited in _reason(controller), within=CPU_SECONDS)
        last = controller.readings()[-1]
    assert last["decision"]["wanted"] <= last["sample"]["cores"] + 1
    assert last["sample"]["backlog"] > 100


def _reason(controller: Program) -> str:
    readings = controller.readings()
    return readings[-1]["decision"]["reason"] if readings else ""
