"""The optimum: exact on small runs, and a bound that no policy is below at its own lateness."""

import math
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dynamic.policies import chosen
from dynamic.simulator.optimum import (
    achievable,
    allowed_late,
    best_schedule,
    lower_bound,
    scheduled,
    started,
)
from dynamic.simulator.queueing import Times
from dynamic.simulator.simulation import Setting, simulate
from lab.errors import InvalidRequest
from lab.load.profiles import Profile, steady

PRICES = some.sampled_from([0.0, 2.0, 10.0])


def trace(rates: list[float]) -> Profile:
    """Return a load of one rate each 2 s."""
    return Profile(
        "random", "random", tuple(2.0 * at for at in range(len(rates))), tuple(rates), 2.0 * len(rates)
    )


def run_settings(readings: int, most_rate: float, most_workers: int) -> some.SearchStrategy[Setting]:
    return some.builds(
        Setting,
        profile=some.lists(some.floats(0.5, most_rate), min_size=readings, max_size=readings).map(trace),
        work=some.builds(
            Times, some.sampled_from([0.1, 0.3]), some.sampled_from(["constant", "exponential"])
        ),
        start=some.builds(Times, some.sampled_from([0.015, 0.4, 1.0])),
        min_workers=some.integers(0, 1),
        max_workers=some.just(most_workers),
        phase_seconds=some.sampled_from([0.0, 0.7]),
        drift_at=some.sampled_from([None, 3.0]),
        seed=some.integers(1, 1000),
    )


@settings(max_examples=8, deadline=None)
@given(setting=run_settings(3, 8.0, 2), late=some.integers(0, 4), price=PRICES)
def test_the_best_schedule_of_a_small_run_is_that_of_trying_all(
    setting: Setting, late: int, price: float
) -> None:
    costs = [math.inf]
    for schedule in product(range(setting.min_workers, setting.max_workers + 1), repeat=setting.readings):
        run = simulate(scheduled(schedule), setting)
        if run.late_events <= late:
            costs.append(run.worker_seconds + price * started(setting.min_workers, schedule))
    best = best_schedule(setting, late, price)
    assert best.cost == pytest.approx(min(costs))
    assert lower_bound(setting, late, price) <= best.cost + 1e-6


@settings(max_examples=12, deadline=None)
@given(
    setting=run_settings(20, 60.0, 12),
    price=PRICES,
    policy=some.sampled_from(
        ["adaptive", "assignment", "assignment:hold=8", "rate", "reference", "static:workers=5"]
    ),
)
def test_no_policy_is_cheaper_than_the_bound_at_its_own_lateness(
    setting: Setting, price: float, policy: str
) -> None:
    run = simulate(chosen(policy), setting)
    cost = run.worker_seconds + price * run.starts
    assert lower_bound(setting, run.late_events, price) <= cost + 1e-6


def test_the_bound_is_near_what_a_schedule_reaches() -> None:
    setting = Setting(trace([20, 80, 150, 60, 30, 90, 40, 20] * 3), start=Times(0.4))
    late = allowed_late(round(setting.profile.mean_rate * setting.profile.duration_seconds))
    assert 1 <= achievable(setting, late) / lower_bound(setting, late) <= 1.15


def test_a_bound_is_infinite_where_the_most_workers_are_too_few() -> None:
    assert lower_bound(Setting(steady(100.0, 20.0), max_workers=2), 0) == math.inf


def test_a_run_too_large_to_try_all_schedules_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="use lower_bound"):
        best_schedule(Setting(steady(10.0, 60.0)), 0)
