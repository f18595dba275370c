"""Policies: the formulas by hand, what holds for all of them, and what `adaptive` does."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dynamic import policies
from dynamic.policies import POLICIES, Policy, chosen
from dynamic.policies.sample import Decision, Sample, State, needed_workers
from lab.bootstrap import ROOT
from lab.errors import InvalidRequest

NAMES = list(POLICIES)
READING = Sample(
    time=0.0, interval_seconds=2.0, arrivals=200, backlog=40, completions=0, busy_seconds=0.0, ready=4,
    starting=0, min_workers=0, max_workers=1000, declared_rate=10.0, start_seconds=0.0, cores=2,
    coming_rate=100.0, coming_service_rate=10.0,
)  # fmt: skip
"""100 messages per second came; a worker does 10 of them."""


def wanted(policy: str, sample: Sample = READING) -> int:
    """Return the first answer of *policy*."""
    return chosen(policy)(sample, State()).wanted


def decisions(policy: Policy, *samples: Sample) -> list[Decision]:
    """Return the answers to *samples*, 2 s apart; what was wanted is ready by the next one."""
    state, ready, found = State(), samples[0].ready, []
    for index, sample in enumerate(samples):
        found.append(policy(replace(sample, time=2.0 * index, ready=ready), state))
        state, ready = found[-1].state, found[-1].wanted
    return found


def test_the_policies_can_be_had_by_name() -> None:
    assert NAMES == ["assignment", "rate", "hpa", "static", "reference", "adaptive"]


@pytest.mark.parametrize(
    ("policy", "workers"),
    [
        ("assignment", 12),  # (40 + 100 * 2) / (10 * 2)
        ("assignment:capacity=20", 12),
        ("assignment:capacity=21", 12),  # 11.4
        ("assignment:capacity=1000", 1),  # historical: 0.24
        ("assignment:target=4", 11),  # (40 + 400) / 40
        ("assignment:hold=8", 12),
        ("rate", 13),  # 100 / (10 * 0.8) = 12.5
        ("rate:capacity=20:use=0.5", 10),
        ("hpa", 2),  # 40 / 20
        ("hpa:per_second=8", 13),  # the larger of 2 and 12.5
        ("hpa:messages=3", 14),  # 13.3
        ("static", 10),
        ("static:workers=7", 7),
        ("reference", 13),  # (100 + 36 / 2) / 10 + ln(1000) / (10 * 2) = 11.8 + 0.35
        ("adaptive", 10),  # (36 + 2 + 200) / (10 * (2 + 0.3 * 1.9)) = 9.3
        ("adaptive:rise=0.05", 12),  # (36 + 2 + 200) / (10 * (2 + 0.05 * 1.9)) = 11.4
    ],
)
def test_a_formula_gives_what_it_gives_by_hand(policy: str, workers: int) -> None:
    assert wanted(policy) == workers


def test_the_assignment_with_messages_per_second_buys_tr_times_too_much() -> None:
    assert wanted("assignment:capacity=10") == 24


@pytest.mark.parametrize("policy", ["assignment", "rate:use=1"])
def test_whole_numbers_are_not_rounded_up_for_a_rounding_error(policy: str) -> None:
    sample = replace(READING, arrivals=6, backlog=0, declared_rate=0.1, interval_seconds=10)
    assert wanted(policy, sample) == 6  # 0.6 / 0.1 is 5.999..., and 0.3 / 0.1 the other way round


@pytest.mark.parametrize(("rate", "workers"), [(0, 0), (20, 3), (96, 10), (97, 11), (150, 16)])
def test_what_a_rate_needs_is_its_load_and_a_margin(rate: float, workers: int) -> None:
    assert needed_workers(rate, 10.0) == workers


def test_hpa_keeps_the_number_within_its_tolerance() -> None:
    near, beyond = (replace(READING, ready=10, backlog=backlog) for backlog in (220, 221))
    assert (wanted("hpa", near), wanted("hpa", beyond)) == (10, 12)


def test_hpa_decides_only_every_fifteen_seconds() -> None:
    samples = [replace(READING, backlog=20 * (index + 1)) for index in range(9)]
    found = [one.wanted for one in decisions(chosen("hpa"), *samples)]
    assert found == [1, 1, 1, 1, 1, 1, 1, 1, 9]


def test_hpa_can_be_made_faster_by_a_factor() -> None:
    samples = [replace(READING, backlog=200), *[replace(READING, backlog=0)] * 20]
    found = [one.wanted for one in decisions(chosen("hpa:faster=10"), *samples)]
    assert found.index(0) * 2 == 30


def test_a_held_policy_goes_down_to_the_largest_wish_of_the_time() -> None:
    samples = [replace(READING, arrivals=count, backlog=0) for count in (300, 40, 40, 40, 40)]
    for policy in ("assignment:hold=8", "rate:hold=8:use=1"):
        found = decisions(chosen(policy), *samples)
        assert [one.wanted for one in found] == [15, 15, 15, 15, 2]
        assert "none is stopped before 8 s of calm" in found[1].reason


def test_hpa_goes_down_only_after_five_minutes() -> None:
    samples = [replace(READING, backlog=200), *[replace(READING, backlog=0)] * 160]
    found = [one.wanted for one in decisions(chosen("hpa"), *samples)]
    assert found.index(0) * 2 == 304  # the first sync from 300 s on


def test_a_reference_that_does_not_know_the_future_holds() -> None:
    assert wanted("reference", replace(READING, coming_rate=None)) == 4


def test_starting_workers_count() -> None:
    starting = replace(READING, start_seconds=1.0, starting=6)
    assert all(wanted(name, starting) == wanted(name, replace(starting, ready=10, starting=0))
               for name in NAMES if name not in ("reference", "adaptive"))  # fmt: skip


readings = some.builds(
    Sample,
    time=some.just(0.0),
    interval_seconds=some.floats(0.1, 100),
    arrivals=some.none() | some.integers(0, 10**6),
    backlog=some.integers(0, 10**6),
    completions=some.integers(0, 10**6),
    busy_seconds=some.floats(0, 1e4),
    ready=some.integers(0, 100),
    starting=some.integers(0, 100),
    min_workers=some.integers(0, 5),
    max_workers=some.integers(5, 100),
    declared_rate=some.floats(1e-3, 1e5),
    start_seconds=some.floats(0, 100),
    cores=some.integers(1, 64),
    coming_rate=some.none() | some.floats(0, 1e6),
    coming_service_rate=some.none() | some.floats(1e-3, 1e5),
)


@pytest.mark.parametrize("name", NAMES)
@given(samples=some.lists(readings, min_size=1, max_size=8))
def test_the_bounds_are_kept_whatever_is_read(name: str, samples: list[Sample]) -> None:
    state = State()
    for index, sample in enumerate(samples):
        decision = POLICIES[name](replace(sample, time=2.0 * index), state)
        assert sample.min_workers <= decision.wanted <= sample.max_workers
        assert decision.reason
        state = decision.state


@pytest.mark.parametrize("name", NAMES)
def test_void_readings_hold_and_leave_no_trace(name: str) -> None:
    void = replace(READING, arrivals=None, backlog=0, completions=0, ready=0, coming_rate=0.0)
    first = POLICIES[name](READING, State())
    second = POLICIES[name](replace(void, time=2.0), first.state)
    assert (second.wanted, second.state) == (first.wanted, first.state)
    assert "void" in second.reason


@pytest.mark.parametrize("name", NAMES)
def test_a_first_reading_that_is_void_keeps_the_workers_there_are(name: str) -> None:
    assert wanted(name, replace(READING, arrivals=None, starting=2)) == 6


@pytest.mark.parametrize("name", NAMES)
@given(backlog=some.integers(0, 10**4), more=some.integers(0, 10**4))
def test_more_backlog_never_means_fewer_workers(name: str, backlog: int, more: int) -> None:
    small, large = (replace(READING, backlog=size, ready=50) for size in (backlog, backlog + more))
    if name == "hpa":  # within its tolerance it does not move, as Kubernetes does
        small, large = (replace(one, ready=0) for one in (small, large))
    assert wanted(name, small) <= wanted(name, large)


@pytest.mark.parametrize("name", NAMES)
def test_a_decision_says_which_bound_it_is_beyond(name: str) -> None:
    assert (
        "1 workers, the maximum" in POLICIES[name](replace(READING, max_workers=1, ready=2), State()).reason
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("magic", "assignment, rate"),
        ("static:sizes=3", "it takes workers"),
        ("static:workers", "above 0"),
        ("assignment:capacity=0", "capacity of policy assignment must be a number above 0, got '0'"),
        ("assignment:capacity=nan", "above 0"),
    ],
)
def test_what_is_no_policy_is_refused_and_the_way_out_is_told(text: str, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        chosen(text)


def test_the_example_of_the_documentation_is_a_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    example = (ROOT / "docs" / "policies.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.setattr(policies, "_policies", dict(POLICIES))
    names: dict[str, Any] = {**vars(policies)}
    exec(example, names)
    doubling = names["doubling"]
    assert doubling(READING, State()).wanted == 1
    assert doubling(READING, State(), messages=5).wanted == 8


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
