"""The capacity search against simulated queues of known capacity, and callers that are too few."""

from statistics import fmean

import numpy as np
import pytest

from harness.experiment.capacity import (
    CallerBound,
    Objective,
    backlog_growth,
    half_chance,
    is_caller_bound,
    search,
)
from harness.record.measurement import Measurement
from tests.harness.queues import Queue, windows
from tests.harness.runs import window

QUEUES = [
    (Queue(500, is_random=True), Objective(50)),
    (Queue(500), Objective(50)),
    (Queue(100), Objective(100)),
    (Queue(2000, is_random=True), Objective(50)),
    (Queue(2500), Objective(20)),
]
SEARCHES = 12
"""Of each queue."""


def test_the_interval_holds_the_known_capacity_in_90_of_100_searches_and_is_not_far_below_it() -> None:
    held, lows = [], []
    for queue, objective in QUEUES:
        truth = queue.capacity(objective)
        for seed in range(SEARCHES):
            first = queue.rate * np.random.default_rng(seed).uniform(0.2, 0.8)
            found = search(queue.attempts(objective, seed), objective, first)
            held.append(found.low <= truth <= (found.high or 0.0))
            lows.append(found.low / truth)
    print(f"held the truth in {fmean(held):.0%} of {len(held)}; lower end {fmean(lows):.3f} of it on average")
    assert fmean(held) >= 0.9
    assert fmean(lows) >= 0.95


def test_one_unlucky_window_does_not_lower_the_capacity() -> None:
    tried: list[float] = []

    def attempt(rate: float) -> Measurement:
        tried.append(rate)
        is_kept = rate <= 500.0 and len(tried) != 1
        return window(rate, offered=rate, achieved_share=1.0, response_ms={"p99": 5.0 if is_kept else 900.0})

    found = search(attempt, Objective(200), first=400)
    assert found.high is not None
    assert found.low <= 500.0 <= found.high
    assert found.low > 430


@pytest.mark.parametrize("rate", [50.0, 100.0])
def test_a_stable_queue_is_hardly_ever_said_to_grow(rate: float) -> None:
    busy = windows(Queue(rate / 0.8, is_random=True), rate, 8.0, 200)
    share = fmean(backlog_growth(each) > 0.01 * rate for each in busy)
    print(f"a queue that is busy to 80 % is said to grow in {share:.0%} of its windows at {rate:g}/s")
    assert share <= 0.15


def test_a_queue_that_gets_ten_percent_too_much_is_said_to_grow() -> None:
    overloaded = windows(Queue(1000 / 1.1), 1000, 4.0, 50)
    assert fmean(backlog_growth(each) > 0.01 * 1000 for each in overloaded) > 0.9


def callers_of_a_fast_system(rate: float, callers: int) -> Measurement:
    """Return what *callers* that wait for each answer measure of a system that answers all in 10 ms."""
    most = callers / 0.010
    if rate < 0.98 * most:
        return window(rate, offered=rate, achieved_share=1.0, late_p99_ms=0.1, response_ms={"p99": 10.2})
    slowed = min(rate, most)
    return window(
        slowed, offered=rate, achieved_share=slowed / rate, late_p99_ms=300.0, response_ms={"p99": 310.0}
    )


def test_a_system_that_answers_all_in_10_ms_is_not_said_to_sustain_what_its_callers_can() -> None:
    objective, callers = Objective(50), 32

    def attempt(rate: float) -> Measurement:
        measured = callers_of_a_fast_system(rate, callers)
        if is_caller_bound(measured, callers, objective):
            raise CallerBound(f"caller-bound: {callers} callers")
        return measured

    found = search(attempt, objective, first=400)
    assert found.low >= 1600
    assert found.high is None
    assert found.objections == ["caller-bound: 32 callers"]


def test_callers_that_are_all_busy_because_the_system_is_slow_are_not_the_limit() -> None:
    slow = window(400, offered=500, achieved_share=0.8, late_p99_ms=300.0, response_ms={"p99": 900.0})
    assert not is_caller_bound(slow, 32, Objective(50))


def test_the_chance_of_a_half_lies_where_windows_begin_to_fail() -> None:
    low, high = half_chance([(rate, rate < 100) for rate in (50, 80, 90, 95, 98, 102, 105, 110, 200)] * 3)
    assert 90 < low < 100 < high < 105
