"""From submit to result in steady state, against background work of known behaviour and a real system."""

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast

import pytest

from harness.experiment.bench import Bench
from harness.experiment.capacity import Objective, accepted_to_completed, failure, highest
from harness.experiment.side import SUBMIT, Side
from harness.load.generator import Window
from harness.load.measure import LocalGenerators
from harness.load.submitted import Follower, Submitter
from harness.load.workload import Workload
from harness.record.ledger import RawFile, Recorder
from lab.contract import Application, Architecture, InsultFilter, Result, ResultPage
from lab.errors import DeadlineExceeded
from lab.load.plans import Plan
from lab.process.system import BrokerUrls, System, SystemSpec

KNOWN_RATE = 200.0
NOWHERE = BrokerUrls()


class Background:
    """Works on one submitted text after the other, 5 ms each; the results stand in a list, newest first."""

    def __init__(
        self, *, rate: float = KNOWN_RATE, page: int = 1000, drops: int = 0, doubles: int = 0
    ) -> None:
        self._seconds, self._page = 1 / rate, page
        self._done_at: deque[tuple[float, Result]] = deque()
        self._results: deque[Result] = deque(maxlen=100_000)
        self._free_at = 0.0
        self._count = 0
        self._lock = threading.Lock()
        self._drops, self._doubles = drops, doubles

    def submit(self, text: str) -> str:
        with self._lock:
            self._count += 1
            name = f"{self._count}"
            self._free_at = max(self._free_at, time.monotonic()) + self._seconds
            copies = 0 if self._count == self._drops else 2 if self._count == self._doubles else 1
            self._done_at.extend([(self._free_at, Result(name, text.upper()))] * copies)
        return name

    def get_results(self, limit: int = 1000) -> ResultPage:
        with self._lock:
            while self._done_at and self._done_at[0][0] <= time.monotonic():
                self._results.appendleft(self._done_at.popleft()[1])
            return ResultPage(islice(self._results, min(limit, self._page)))

    def result(self, petition_id: str, timeout: float) -> str:
        deadline = time.monotonic() + timeout
        while True:
            self.get_results(1)
            for found, text in list(self._results):
                if found == petition_id:
                    return text
            if time.monotonic() >= deadline:
                raise DeadlineExceeded("not yet")
            time.sleep(0.001)

    def close(self) -> None:
        """Nothing to free."""


def submitter_of(background: Background, pool: list[tuple[str, str]]) -> Submitter:
    """Return a client of *background*, with a reader beside."""
    client = cast(InsultFilter, background)
    return Submitter(client, pool, Follower(lambda: client))


@dataclass
class BackgroundSubject:
    """All submitters of a load generator share a background and a reader."""

    first: Submitter | None = None

    def connect(self) -> Submitter:
        self.first = self.first or submitter_of(Background(), [("a", "A"), ("b", "B")])
        return self.first


@pytest.fixture(scope="module")
def load() -> Iterator[LocalGenerators]:
    """Load generators whose texts all go to one background."""
    with LocalGenerators(BackgroundSubject(), 8, processes=1, warm_up=Window(requests=1)) as generators:
        yield generators


def test_the_time_of_a_text_is_its_own_and_not_that_of_a_batch(load: LocalGenerators) -> None:
    """400 texts one after the other take 2 s: in a batch the median of them is 1 s."""
    measured = load.open(Plan.constant(KNOWN_RATE / 2, 4.0))
    assert measured.done == measured.made == 400
    assert 5.0 <= (measured.response_ms["p50"] or 0.0) < 100.0
    assert not failure(measured, KNOWN_RATE / 2, Objective(1000))


def test_texts_that_come_faster_than_they_are_worked_on_leave_a_growing_backlog(
    load: LocalGenerators,
) -> None:
    measured = load.open(Plan.constant(2 * KNOWN_RATE, 2.0))
    assert measured.is_whole
    assert (measured.achieved_share or 1.0) < 0.7
    assert failure(measured, 2 * KNOWN_RATE, Objective(1000))


def test_the_highest_rate_with_a_bounded_backlog_is_that_of_the_work(load: LocalGenerators) -> None:
    def is_bounded(rate: float) -> bool:
        return not failure(load.open(Plan.constant(rate, max(2.0, 400 / rate))), rate, Objective(1000))

    for _ in range(3):  # who else uses the machine can only lower it
        low, high = highest(is_bounded, 0.7 * KNOWN_RATE, 0.1)
        assert low <= 1.05 * KNOWN_RATE
        if high >= 0.8 * KNOWN_RATE:
            return
    pytest.fail(f"not more than {high:.0f} in three searches")


def test_a_text_without_a_result_is_lost_and_one_with_two_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.load.submitted.LOST_SECONDS", 1.0)
    background = Background(drops=3, doubles=5)
    recorder = Recorder(RawFile(Path(os.devnull)))
    submitter = submitter_of(background, [("a", "A"), ("b", "wrong")])
    for number in range(10):
        submitter.submit(number, time.perf_counter_ns(), recorder)
    submitter.wait_for(recorder)
    tally = recorder.tally
    assert (tally.made, tally.done, tally.wrong, tally.lost, tally.duplicates) == (10, 4, 5, 1, 1)


def test_results_that_come_faster_than_pages_show_them_are_found_by_their_ids() -> None:
    background = Background(rate=1e6, page=10)
    recorder = Recorder(RawFile(Path(os.devnull)))
    submitter = submitter_of(background, [("a", "A")])
    for number in range(2000):
        submitter.submit(number, time.perf_counter_ns(), recorder)
    submitter.wait_for(recorder)
    assert recorder.tally.done == recorder.tally.made == 2000


def test_a_real_system_has_a_rate_and_the_times_of_its_texts() -> None:
    bench = Bench(NOWHERE, Workload())
    with System(SystemSpec("xmlrpc", Application.FILTER, Architecture.ONE_NODE, 1), NOWHERE) as system:
        point = accepted_to_completed(bench, Side("xmlrpc", operation=SUBMIT), system, 1.0)
    assert point.measurement.is_whole
    assert point.measurement.offered
    assert point.measurement.response_ms["p50"]
