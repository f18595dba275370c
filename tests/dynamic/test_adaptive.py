"""The policy `adaptive`: what it believes of load and workers, how long it holds, and where it stops."""

from dataclasses import replace

import pytest

from dynamic.decision import Decision, State
from dynamic.policies import chosen
from tests.dynamic.test_policies import READING, decisions, wanted


def at_rates(policy: str, *arrivals: int) -> list[int]:
    """Return the answers to *arrivals* of 2 s each, of which none waits."""
    readings = [replace(READING, arrivals=count, backlog=0) for count in arrivals]
    return [one.wanted for one in decisions(chosen(policy), *readings)]


def test_adaptive_keeps_its_number_while_it_is_enough_and_not_too_much() -> None:
    assert at_rates("adaptive", 200, 210, 190, 205, 195) == [8, 8, 8, 8, 8]


def test_adaptive_follows_a_rise_at_once_and_a_large_fall_after_little_calm() -> None:
    found = at_rates("adaptive", *[40] * 4, *[400] * 4, *[40] * 4)
    assert found[4] >= 15
    assert found[8] < found[7] / 2


def test_adaptive_lets_a_small_surplus_stay_longer_than_a_large_one() -> None:
    small = at_rates("adaptive", *[400] * 4, *[300] * 12)
    large = at_rates("adaptive", *[400] * 4, *[100] * 12)
    assert large.index(large[-1]) < small.index(small[-1])


def test_adaptive_holds_workers_for_half_of_what_a_start_costs() -> None:
    cheap, dear = (
        [
            one.wanted
            for one in decisions(
                chosen("adaptive"),
                *[
                    replace(READING, arrivals=count, backlog=0, start_price=price)
                    for count in (*[400] * 3, *[40] * 12)
                ],
            )
        ]
        for price in (0.0, 20.0)
    )
    assert cheap[3] < cheap[2]
    assert dear[3:7] == [dear[2]] * 4
    assert dear[-1] == cheap[-1]


def test_adaptive_says_why_more_workers_stay_than_are_needed() -> None:
    low, high = (replace(READING, arrivals=count, backlog=0, start_price=20.0) for count in (40, 400))
    reason = decisions(chosen("adaptive"), high, high, low)[-1].reason
    assert "would be enough, but none stops before" in reason
    assert "40" not in reason.split(":")[0]


def test_adaptive_clears_the_backlog_when_events_are_about_to_be_late() -> None:
    behind = replace(READING, backlog=400, arrivals=400, ready=4)
    assert wanted("adaptive", behind) >= 40  # (400 + 400) / 20


def test_adaptive_keeps_some_workers_for_a_rate_that_may_come_again_where_starts_are_slow() -> None:
    readings = [replace(READING, arrivals=count, backlog=0, start_seconds=1.0) for count in (400, *[20] * 6)]
    slow = [one.wanted for one in decisions(chosen("adaptive"), *readings)]
    fast = at_rates("adaptive", 400, *[20] * 6)
    assert slow[-1] > fast[-1]


def test_adaptive_lets_the_last_worker_go_when_nothing_comes() -> None:
    assert at_rates("adaptive", 3, *[0] * 16)[-1] == 0


def test_adaptive_measures_how_fast_workers_are_and_forgets_what_was_declared() -> None:
    slow = replace(READING, arrivals=100, completions=100, busy_seconds=20.0, backlog=0, ready=10)
    found = decisions(chosen("adaptive"), *[replace(slow, declared_rate=20.0)] * 30)
    assert found[-1].state.completions / found[-1].state.busy_seconds == pytest.approx(5, rel=1e-2)
    assert 8 <= found[-1].wanted <= 11  # 50 / 5


def test_adaptive_does_not_take_work_that_has_not_come_out_for_endless() -> None:
    busy = replace(READING, busy_seconds=80.0, ready=40, backlog=40)
    out = replace(busy, completions=40)
    found = decisions(chosen("adaptive"), busy, out)
    assert found[0].state.completions / found[0].state.busy_seconds == 10
    assert found[1].state.completions / found[1].state.busy_seconds == pytest.approx(50 / 161)


def on_cores(arrivals: int, work_seconds: float, cores: int, readings: int) -> list[Decision]:
    """Return the answers of `adaptive` while computing workers share *cores* and too much arrives."""
    state, ready, backlog, found = State(), 1, 0.0, []
    for index in range(readings):
        busy = min(float(ready), backlog + arrivals)
        done = min(busy, cores) * 2.0 / work_seconds
        backlog = max(0.0, backlog + arrivals - done)
        sample = replace(
            READING, time=2.0 * index, arrivals=arrivals, backlog=int(backlog), completions=int(done),
            busy_seconds=2.0 * busy, ready=ready, cores=cores, max_workers=50,
        )  # fmt: skip
        found.append(chosen("adaptive")(sample, state))
        state, ready = found[-1].state, found[-1].wanted
    return found


@pytest.mark.parametrize("cores", [1, 2, 4])
@pytest.mark.parametrize("work_seconds", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("excess", [1.25, 2, 10])
def test_workers_that_compute_settle_near_the_number_of_cores(
    cores: int, work_seconds: float, excess: float
) -> None:
    found = on_cores(int(2 * cores * excess / work_seconds), work_seconds, cores, 40)
    assert {one.wanted for one in found[20:]} <= set(range(cores, cores + 2))
    assert "have not helped" in found[-1].reason


def test_workers_that_wait_are_added_without_limit() -> None:
    found = on_cores(arrivals=400, work_seconds=0.1, cores=1000, readings=10)
    assert found[-1].wanted >= 20
    assert all(one.state.evidence.limit is None for one in found)
