"""Every objection to a window, at its border: just within there is none."""

from dataclasses import replace
from typing import Any

import pytest

from harness.analysis.verdicts import objections
from harness.record.measurement import Measurement
from tests.harness.runs import lossy, window

RAMP = [500.0 + 50 * place for place in range(20)]


def found(measured: Measurement, **against: Any) -> list[str]:
    """Return the objections to what two load generators measured."""
    return objections(measured, **{"processes": 2, **against})


def test_a_window_in_which_all_is_well_is_not_objected_to() -> None:
    assert found(window()) == []


@pytest.mark.parametrize(
    "loss", [{"lost": 1}, {"wrong": 1}, {"duplicates": 1}, {"failed": {"OVERLOADED": 1}}]
)
def test_a_loss_is_the_only_objection(loss: dict[str, Any]) -> None:
    [objection] = found(lossy(**loss, seconds=0.1, out_of_range=5, generator_cpu_seconds=9.0))
    assert objection.startswith("of 1,000 requests 1 ")


def test_a_window_without_requests_says_so() -> None:
    assert found(replace(window(0.0), throughput=None, seconds=0.0)) == ["no request was made"]


@pytest.mark.parametrize(
    ("out_of_range", "said"), [(0, []), (1, ["1 response times were under 1 us or over 60 s"])]
)
def test_one_time_that_the_histogram_cannot_hold_is_too_many(out_of_range: int, said: list[str]) -> None:
    assert found(window(out_of_range=out_of_range)) == said


@pytest.mark.parametrize(
    ("seconds", "done", "said"),
    [
        (0.7, 1000, []),
        (0.69, 1000, ["too short: 1,000 requests in 0.69 s"]),
        (1.0, 100, []),
        (1.0, 99, ["too short: 99 requests in 1.00 s"]),
    ],
)
def test_a_window_is_too_short_under_700_ms_or_100_requests(
    seconds: float, done: int, said: list[str]
) -> None:
    assert found(window(made=done, done=done, seconds=seconds, generator_cpu_seconds=0.1)) == said


@pytest.mark.parametrize(
    ("spent", "processes", "said"),
    [
        (1.6, 2, []),
        (1.62, 2, ["client-bound: each load generator used 81% of a core"]),
        (0.8, 1, []),
        (0.82, 1, ["client-bound: each load generator used 82% of a core"]),
    ],
)
def test_a_load_generator_may_use_four_fifths_of_a_core(
    spent: float, processes: int, said: list[str]
) -> None:
    assert found(window(generator_cpu_seconds=spent), processes=processes) == said


def test_what_a_load_generator_spends_is_per_second_of_the_window() -> None:
    assert found(window(seconds=2.0, generator_cpu_seconds=3.2)) == []
    assert found(window(seconds=2.0, generator_cpu_seconds=3.3))


@pytest.mark.parametrize(
    ("null_rate", "said"),
    [
        (0.0, []),
        (2000.0, []),
        (1999.0, ["client-bound: the load generators alone make 1,999/s, less than twice this"]),
    ],
)
def test_the_load_generators_must_be_able_to_do_twice_as_much(null_rate: float, said: list[str]) -> None:
    assert found(window(), null_rate=null_rate) == said


@pytest.mark.parametrize(
    ("late", "p99", "is_late"),
    [
        (None, 2.0, False),
        (1.0, 2.0, False),
        (1.1, 2.0, True),
        (1.0, None, False),
        (1.1, None, True),
        (5.0, 100.0, False),
        (5.1, 100.0, True),
    ],
)
def test_requests_may_be_sent_late_by_a_millisecond_or_a_twentieth_of_the_response_time(
    late: float | None, p99: float | None, is_late: bool
) -> None:
    said = [f"sent late: the 99th percentile of the delay before sending is {late} ms"] if is_late else []
    assert found(window(late_p99_ms=late, response_ms={"p99": p99}, achieved_share=1.0)) == said


@pytest.mark.parametrize(("achieved", "objections_made"), [(0.99, 1), (0.98, 0), (None, 0)])
def test_to_send_late_is_no_fault_where_the_system_does_not_keep_up(
    achieved: float | None, objections_made: int
) -> None:
    assert len(found(window(late_p99_ms=50.0, achieved_share=achieved))) == objections_made


def test_a_throughput_that_grows_within_the_window_is_not_stationary() -> None:
    assert found(window(slices=RAMP)) == ["not stationary: the throughput changed within the window"]


def test_a_change_of_ten_percent_between_the_halves_is_none() -> None:
    assert found(window(slices=[950.0] * 10 + [1050.0] * 10)) == []
    assert found(window(slices=[940.0] * 10 + [1060.0] * 10))


def test_a_window_that_is_objected_to_already_need_not_be_stationary() -> None:
    assert found(window(slices=RAMP, out_of_range=1)) == ["1 response times were under 1 us or over 60 s"]


def test_all_that_is_wrong_is_said() -> None:
    measured = window(
        seconds=0.5, out_of_range=2, generator_cpu_seconds=0.9, late_p99_ms=3.0, achieved_share=1
    )
    said = found(measured, null_rate=10.0)
    assert [objection.split(":")[0] for objection in said] == [
        "2 response times were under 1 us or over 60 s",
        "too short",
        "client-bound",
        "client-bound",
        "sent late",
    ]
