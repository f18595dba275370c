"""Policies: the formulas by hand, and what holds for all of them."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dynamic import policies
from dynamic.decision import Decision, State
from dynamic.policies import POLICIES, Policy, chosen
from dynamic.sample import Sample, needed_workers
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
    assert doubling(READING, State(), patience=5).wanted == 8
