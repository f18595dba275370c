"""Jobs that repeat in the background until they are stopped."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from lab.background import BackgroundJob, heartbeat
from lab.errors import Unavailable
from tests.eventually import eventually

LONG_SECONDS = 3600.0
TIMEOUT_SECONDS = 10.0

Start = Callable[[BackgroundJob], BackgroundJob]


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


def test_a_step_is_repeated(start: Start) -> None:
    steps = Steps()
    start(BackgroundJob("count", steps))
    eventually(lambda: steps.count > 10)


def test_a_stopped_job_ends(start: Start) -> None:
    steps = Steps()
    job = start(BackgroundJob("count", steps))
    eventually(lambda: steps.count)
    job.stop(TIMEOUT_SECONDS)
    assert not job.is_alive()


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


def test_a_job_that_never_ran_can_be_stopped() -> None:
    BackgroundJob("count", Steps()).stop(TIMEOUT_SECONDS)


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


def test_a_job_pauses_as_long_as_its_steps_say() -> None:
    pauses = Pauses()
    pauses.run(BackgroundJob("count", Steps(LONG_SECONDS), pauses))
    assert pauses.seconds == [LONG_SECONDS] * 3


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
