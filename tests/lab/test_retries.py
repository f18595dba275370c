"""Retries come with jitter and within a budget, by a clock that the test moves."""

import pytest

from lab.client.retry import Backoff, Failover, RetryBudget
from lab.errors import Unavailable
from tests.lab.clock import Clock
from tests.lab.nodes import DEADLINE_SECONDS, System


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the client goes by."""
    clock = Clock()
    monkeypatch.setattr("lab.client.retry.time", clock)
    return clock


def test_pauses_have_full_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, float]] = []

    def lowest(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    monkeypatch.setattr("lab.client.retry.random.uniform", lowest)
    system = System("a", "b", "c", "d", dead=("a", "b", "c"))
    assert system.call() == "d"
    assert drawn == [(0.0, 0.02), (0.0, 0.04), (0.0, 0.08)]


def test_a_call_is_repeated_no_more_often_than_the_budget_allows(clock: Clock) -> None:
    system = System("a", "b", dead=("a", "b"))
    client = Failover(system.assign, system.connect, system.report_dead, RetryBudget(2.0, 0.0, 0.0))
    with pytest.raises(Unavailable):
        client.call(system.answer, DEADLINE_SECONDS)
    assert len(system.reported) == 3
    assert clock.elapsed < DEADLINE_SECONDS


def test_a_budget_is_refilled_by_time_and_by_calls_but_never_beyond_its_size(clock: Clock) -> None:
    budget = RetryBudget(at_once=3.0, per_second=2.0, per_call=0.5)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
    clock.now += 1.0
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    budget.earn()
    budget.earn()
    assert [budget.spend() for _ in range(2)] == [True, False]
    clock.now += 3600.0
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.5), (10_000, 0.5)])
def test_a_pause_doubles_up_to_the_longest_with_jitter(attempt: int, longest: float) -> None:
    backoff = Backoff(0.1, 0.5, least_share=0.5)
    pauses = [backoff.pause(attempt) for _ in range(200)]
    assert all(longest / 2 <= pause <= longest for pause in pauses)
    assert len(set(pauses)) > 1
