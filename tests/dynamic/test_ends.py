"""Ctrl-C and SIGTERM, once or twice: every program ends, and leaves no process, socket or lock."""

import signal

import pytest

from tests.dynamic.rig import Load, Rig, workers
from tests.eventually import eventually

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
