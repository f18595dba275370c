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


def test_adaptive_takes_the_last_interval_when_the_load_has_changed() -> None:
    assert at_rates("adaptive", 40, 300) == [3, 16]  # 2 + 0.35; 15 + 0.35


def test_adaptive_takes_the_mean_when_arrivals_differ_as_chance_lets_them() -> None:
    assert at_rates("adaptive", 200, 250) == [11, 12]  # 10 + 0.35; 11.25 + 0.35
    assert at_rates("adaptive", 200, 270) == [11, 14]  # 13.5 + 0.35: 70 more are beyond 3 sqrt(470)


def test_adaptive_goes_down_to_the_highest_need_of_eight_seconds() -> None:
    assert at_rates("adaptive:settle=1", 300, 40, 40, 40, 40) == [16, 16, 16, 16, 3]
    low = replace(READING, arrivals=40, backlog=0)
    found = decisions(chosen("adaptive"), replace(low, arrivals=300), low)
    assert "not yet for 8 s" in found[1].reason


def test_adaptive_waits_longer_for_each_turn_of_the_load() -> None:
    calm = at_rates("adaptive", *[40] * 8, *[300] * 8, *[40] * 16)
    unsteady = at_rates("adaptive", *[40] * 4, *[300] * 2, *[40] * 2, *[300] * 8, *[40] * 16)
    assert calm[16:].index(3) * 2 == 10  # one turn: 12 s after the last reading of the high load
    assert unsteady[16:].index(3) * 2 == 22  # three turns: 3 x 8 s


def test_adaptive_keeps_workers_for_a_backlog_only_while_it_lasts_or_the_load_is_unsettled() -> None:
    calm = [replace(READING, arrivals=200, backlog=0)] * 8
    found = decisions(chosen("adaptive"), *calm, replace(READING, backlog=140), *calm)
    assert [one.wanted for one in found[8:10]] == [23, 11]  # 10 + (140 - 11) / 10
    found = decisions(chosen("adaptive"), replace(READING, backlog=140), *calm)
    assert [one.wanted for one in found[:7]] == [24] * 6 + [11]


@pytest.mark.parametrize("idle", [0, 1, 20])
def test_adaptive_takes_a_load_for_new_from_its_first_message_on(idle: int) -> None:
    silent = [replace(READING, arrivals=0, backlog=0)] * idle
    calm = [replace(READING, arrivals=200, backlog=0)] * 8
    found = decisions(chosen("adaptive"), *silent, replace(READING, backlog=140), *calm)
    assert [one.wanted for one in found[idle:][:7]] == [24] * 6 + [11]


def test_adaptive_does_not_retire_a_tenth() -> None:
    assert at_rates("adaptive", *[400] * 8, *[384] * 20)[-1] == 21  # 19.2 + 0.35 is 20
    assert at_rates("adaptive", *[400] * 8, *[350] * 20)[-1] == 18


def test_adaptive_lets_the_last_worker_go_when_nothing_comes() -> None:
    assert at_rates("adaptive", 3, *[0] * 16)[-1] == 0


def test_adaptive_measures_how_fast_workers_are_and_forgets_what_was_declared() -> None:
    slow = replace(READING, arrivals=100, completions=100, busy_seconds=20.0, backlog=0, ready=10)
    found = decisions(chosen("adaptive"), *[replace(slow, declared_rate=20.0)] * 30)
    assert found[-1].state.completions / found[-1].state.busy_seconds == pytest.approx(5, rel=1e-2)
    assert found[-1].wanted == 11  # 50 / 5 + 6.9 / (5 x 2)


def test_adaptive_does_not_take_work_that_has_not_come_out_for_endless() -> None:
    busy = replace(READING, busy_seconds=80.0, ready=40, backlog=40)
    out = replace(busy, completions=40)
    found = decisions(chosen("adaptive"), busy, out)
    assert found[0].state.completions / found[0].state.busy_seconds == 10
    assert found[1].state.completions / found[1].state.busy_seconds == pytest.approx(50 / 161)


def test_adaptive_counts_what_arrives_while_workers_start() -> None:
    slow_start = replace(READING, start_seconds=1.0)
    assert wanted("adaptive", slow_start) == 20  # 10 + (36 + 100 - 40) / 10


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
    assert found[-1].wanted > 20
    assert all(one.state.evidence.limit is None for one in found)
