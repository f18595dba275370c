"""The registry of live nodes, and jobs that repeat in the background until they are stopped."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from lab.background import BackgroundJob, heartbeat
from lab.errors import Unavailable
from lab.process.master import Member, Registry
from tests.eventually import eventually

LEASE_SECONDS = 2.0
START = 1_000.0
LONG_SECONDS = 3600.0
TIMEOUT_SECONDS = 10.0
Start = Callable[[BackgroundJob], BackgroundJob]


class Scene:
    """A registry and its clock."""

    def __init__(self, *names: str) -> None:
        self.now = START
        self.registry = Registry(LEASE_SECONDS)
        for name in names:
            self.join(name)

    def join(self, name: str, address: str = "") -> None:
        self.registry.join(name, address or f"http://{name}", self.now)

    def beat(self, *names: str) -> list[bool]:
        return [self.registry.beat(name, self.now) for name in names]

    def live(self) -> list[str]:
        return sorted(member.name for member in self.registry.live(self.now))

    def turns(self, count: int) -> list[str | None]:
        """Assign *count* times in turn."""
        return [_name(self.registry.round_robin(self.now)) for _ in range(count)]

    def least(self, count: int) -> list[str | None]:
        """Assign *count* times to who has least."""
        return [_name(self.registry.least_assigned(self.now)) for _ in range(count)]


def _name(member: Member | None) -> str | None:
    return member.name if member else None


def test_a_node_lives_to_the_end_of_its_lease() -> None:
    scene = Scene("a")
    scene.now += LEASE_SECONDS
    assert scene.live() == ["a"]
    scene.now += 0.001
    assert scene.live() == []


def test_a_beat_after_the_lease_is_over_is_refused_and_does_not_revive() -> None:
    scene = Scene("a")
    scene.now += LEASE_SECONDS + 0.001
    assert scene.beat("a", "a") == [False, False]
    assert scene.live() == []


def test_expiry_names_each_dropped_node_once() -> None:
    scene = Scene("a", "b", "c")
    scene.now += LEASE_SECONDS
    scene.beat("b")
    scene.now += 0.001
    assert sorted(scene.registry.expire(scene.now)) == ["a", "c"]
    assert scene.registry.expire(scene.now) == []


@pytest.mark.parametrize("ask", [Scene.turns, Scene.least])
def test_a_dead_node_is_never_handed_out(ask: Callable[[Scene, int], list[str | None]]) -> None:
    scene = Scene("a", "b", "c")
    scene.now += LEASE_SECONDS
    scene.beat("b")
    scene.now += 0.001
    assert ask(scene, 3) == ["b", "b", "b"]


def test_a_node_that_left_is_not_handed_out() -> None:
    scene = Scene("a", "b", "c")
    assert scene.registry.leave("b") is True
    assert set(scene.turns(4)) == set(scene.least(4)) == {"a", "c"}


def test_nodes_take_turns_in_the_order_in_which_they_joined() -> None:
    assert Scene("c", "a", "b").turns(7) == ["c", "a", "b", "c", "a", "b", "c"]


def test_a_beat_does_not_change_whose_turn_it_is() -> None:
    scene = Scene("a", "b", "c")
    scene.turns(1)
    scene.beat("b", "c", "a")
    assert scene.turns(3) == ["b", "c", "a"]


def test_a_new_node_waits_for_those_that_were_there() -> None:
    scene = Scene("a", "b")
    scene.turns(1)
    scene.join("c")
    assert scene.turns(3) == ["b", "a", "c"]


def test_a_node_that_dies_does_not_upset_the_turns_of_the_others() -> None:
    scene = Scene("a", "b", "c", "d")
    scene.turns(2)
    scene.registry.leave("c")
    assert scene.turns(4) == ["d", "a", "b", "d"]


def test_the_node_with_the_fewest_assignments_is_next() -> None:
    scene = Scene("a", "b")
    scene.turns(2)
    scene.registry.round_robin(scene.now)
    assert scene.least(3) == ["b", "a", "b"]


def test_of_those_with_equally_few_the_one_longest_silent_is_next() -> None:
    scene = Scene("a", "b", "c")
    for name in ("b", "c", "a"):
        scene.now += 0.1
        scene.beat(name)
    assert scene.least(6) == ["b", "c", "a", "b", "c", "a"]


def test_a_new_node_is_not_flooded_to_catch_up() -> None:
    scene = Scene("a", "b")
    scene.least(100)
    scene.join("c")
    assert sorted(map(str, scene.least(6))) == ["a", "a", "b", "b", "c", "c"]


def test_joining_again_replaces_the_address() -> None:
    scene = Scene("a")
    scene.join("a", "http://elsewhere")
    assert [member.address for member in scene.registry.live(scene.now)] == ["http://elsewhere"]
    assert scene.turns(2) == ["a", "a"]


@pytest.mark.parametrize("jump_seconds", [-3600.0, -0.5])
def test_a_clock_that_was_set_back_ends_no_lease_late(jump_seconds: float) -> None:
    scene = Scene("a", "b", "c")
    scene.now += jump_seconds
    assert scene.live() == ["a", "b", "c"]
    scene.now += 1.5
    assert scene.beat("b") == [True]
    scene.now += 1.0
    assert scene.live() == ["b"]
    assert scene.turns(2) == scene.least(2) == ["b", "b"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start jobs; end them with the test."""
    with ExitStack() as stack:

        def start(job: BackgroundJob) -> BackgroundJob:
            stack.callback(job.stop, TIMEOUT_SECONDS)
            job.start()
            return job

        yield start


class Steps:
    """Counts its steps; some fail; in between it pauses for as long as the test says."""

    def __init__(self, pause_seconds: float = 0.0, fail: tuple[int, ...] = ()) -> None:
        self.count = 0
        self._pause_seconds = pause_seconds
        self._fail = fail

    def __call__(self) -> float:
        self.count += 1
        if self.count in self._fail:
            raise Unavailable("the store is away")
        return self._pause_seconds


class Pauses(threading.Event):
    """Takes the place of a job's event: notes its pauses, waits for none, and stops it after three."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float | None] = []

    def run(self, job: BackgroundJob) -> None:
        """Run *job* in this thread."""
        self._job = job
        job.run()

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout)
        if len(self.seconds) == 3:
            self._job.stop(0.0)
        return True


def test_a_job_that_pauses_for_long_is_stopped_at_once(start: Start) -> None:
    steps = Steps(LONG_SECONDS)
    job = start(BackgroundJob("count", steps))
    eventually(lambda: steps.count)
    job.stop(TIMEOUT_SECONDS)
    assert not job.is_alive()


def test_a_job_stopped_just_before_its_step_does_not_pause(start: Start) -> None:
    class StopsWhenCleared(threading.Event):
        def clear(self) -> None:
            job.stop(0.0)
            super().clear()

    job = BackgroundJob("count", Steps(LONG_SECONDS), StopsWhenCleared())
    start(job)
    job.join(TIMEOUT_SECONDS)
    assert not job.is_alive()


def test_a_job_can_be_stopped_twice_and_by_itself(start: Start) -> None:
    def step() -> float:
        job.stop(TIMEOUT_SECONDS)
        return 0.0

    job = BackgroundJob("stop", step)
    start(job)
    job.join(TIMEOUT_SECONDS)
    job.stop(TIMEOUT_SECONDS)
    assert not job.is_alive()


def test_stopping_lets_the_step_under_way_finish(start: Start) -> None:
    begun, release, finished = threading.Event(), threading.Event(), threading.Event()

    def step() -> float:
        begun.set()
        release.wait(TIMEOUT_SECONDS)
        finished.set()
        return 0.0

    job = start(BackgroundJob("slow", step))
    assert begun.wait(TIMEOUT_SECONDS)
    threading.Timer(0.05, release.set).start()
    job.stop(TIMEOUT_SECONDS)
    assert finished.is_set()


def test_a_pause_ends_when_the_job_is_woken(start: Start) -> None:
    steps, wake = Steps(LONG_SECONDS), threading.Event()
    start(BackgroundJob("count", steps, wake))
    eventually(lambda: steps.count)

    def woken() -> bool:
        wake.set()
        return steps.count > 3

    assert eventually(woken)


def test_a_step_that_fails_is_repeated_after_half_a_second() -> None:
    pauses = Pauses()
    pauses.run(BackgroundJob("count", Steps(LONG_SECONDS, fail=(1, 3)), pauses))
    assert pauses.seconds == [0.5, LONG_SECONDS, 0.5]


def test_a_step_that_fails_as_nobody_foresaw_does_not_end_the_job(caplog: pytest.LogCaptureFixture) -> None:
    errors = iter([ValueError("a bug"), None, None])

    def step() -> float:
        if error := next(errors):
            raise error
        return LONG_SECONDS

    pauses = Pauses()
    pauses.run(BackgroundJob("count", step, pauses))
    assert pauses.seconds == [0.5, LONG_SECONDS, LONG_SECONDS]
    assert "a bug" in caplog.text


def test_failures_in_a_row_are_logged_once(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lab.background.BACK_OFF_SECONDS", 0.001)
    steps = Steps(fail=(1, 2, 3, 5, 6))
    with caplog.at_level(logging.WARNING, "lab.background"):
        start(BackgroundJob("follow", steps))
        eventually(lambda: steps.count > 7)
    assert [record.getMessage() for record in caplog.records] == [
        "follow: the store is away; trying again"
    ] * 2


def test_between_two_heartbeats_there_is_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, beats = Pauses(), Steps()
    monkeypatch.setattr("lab.background.threading", SimpleNamespace(Event=lambda: pauses))
    pauses.run(heartbeat("pulse", 7.0, beats))
    assert (pauses.seconds, beats.count) == ([7.0] * 3, 3)
