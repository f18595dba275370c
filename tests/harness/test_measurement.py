"""Load generators against servers of known behaviour, and the figures of a window: percentiles, memory."""

import json
import math
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.analysis.verdicts import objections
from harness.load.generator import Window
from harness.load.measure import PROCESSES, Generators, LocalGenerators, shares
from harness.load.workload import NullSubject, Subject
from harness.record.measurement import HIGHEST_NS, LOWEST_NS, Histogram, samples_needed
from lab.bootstrap import ROOT
from lab.errors import Code, InvalidRequest
from lab.load.plans import Plan
from tests.harness.known import known_server

NO_WARM_UP = Window(requests=1)


class ManyAtOnce:
    """Answers what it is sent at once after 20 ms, all together."""

    def connect(self) -> "ManyAtOnce":
        return self

    def request(self, number: int) -> bool:
        time.sleep(0.02)
        return True

    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        sent = list(numbers)
        time.sleep(0.02)
        yield from ((number, True) for number in sent)

    def close(self) -> None:
        """Nothing to free."""


def load(subject: Subject, clients: int = 2, **options: int) -> Generators:
    """Return generators for *subject*, with hardly a warm-up: a known server needs none."""
    return LocalGenerators(subject, clients, warm_up=NO_WARM_UP, **options)  # type: ignore[arg-type]


def test_a_fixed_service_time_is_what_is_measured() -> None:
    with load(known_server(service_seconds=0.005), clients=1) as generators:
        measured = generators.requests(100)
    assert (measured.response_ms["p50"] or 0.0) >= 5.0
    assert measured.done == 100
    assert measured.is_whole


def test_a_queue_shows_in_the_response_time_of_many_clients() -> None:
    with load(known_server(service_seconds=0.005), clients=8) as generators:
        measured = generators.requests(20)
    assert (measured.response_ms["p50"] or 0.0) >= 7 * 5.0
    assert (measured.throughput or 0.0) < 210


def test_a_stall_of_a_second_shows_in_the_99th_percentile_of_an_open_loop() -> None:
    server = known_server(service_seconds=0.001, stall_at_seconds=1.0, stall_seconds=1.0)
    with load(server, clients=4) as generators:
        measured = generators.open(Plan.constant(100, 5))
    assert (measured.response_ms["p99"] or 0.0) > 900
    assert measured.done == 500


def test_a_stall_hides_from_a_closed_loop() -> None:
    with load(known_server(service_seconds=0.001, stall_at_seconds=1.0, stall_seconds=1.0)) as generators:
        measured = generators.closed(3.0)
    assert (measured.response_ms["p99"] or 0.0) < 500


@pytest.mark.parametrize("fault", ["lost", "duplicated", "corrupted"])
def test_one_request_in_a_hundred_gone_wrong_is_counted_and_no_throughput_is_given(fault: str) -> None:
    with load(known_server(**{fault: 0.01}), in_flight=10) as generators:
        measured = generators.requests(5_000)
    counts = {"lost": measured.lost, "duplicated": measured.duplicates, "corrupted": measured.wrong}
    assert 50 <= counts[fault] <= 200
    assert sum(counts.values()) == counts[fault]
    assert measured.made == 10_000 == measured.done + measured.lost + measured.wrong
    assert measured.throughput is None
    assert "of 10,000 requests" in objections(measured, processes=PROCESSES)[0]


def test_clients_that_make_a_number_of_requests_end_together() -> None:
    """A client that is slower than the others makes fewer of them, so that none is idle at the end."""
    with load(known_server(service_seconds=0.002), clients=4) as generators:
        measured = generators.requests(100)
    assert measured.made == measured.done == 400
    assert measured.under_way == pytest.approx(4, rel=0.05)


def test_what_is_due_is_sent_without_waiting_for_each_answer() -> None:
    """Two callers, and answers that take 20 ms: one after the other they would make 100 a second."""
    with load(ManyAtOnce(), clients=2, in_flight=10) as generators:
        measured = generators.open(Plan.constant(400, 2))
    assert measured.done == measured.made == 800
    assert (measured.achieved_share or 0.0) > 0.95


def test_the_load_generators_limit_is_told_with_the_check_of_each_answer() -> None:
    pool = [("you fool", "you CENSORED"), ("hello", "hello")]
    with load(NullSubject(pool), in_flight=5) as generators:
        assert generators.requests(500).is_whole
    driver = NullSubject([("a", "b")]).connect()
    assert driver.request(0)


def test_what_a_generator_spends_itself_is_counted() -> None:
    with load(known_server(burn_seconds=0.001), clients=1) as generators:
        measured = generators.requests(300)
    assert measured.generator_cpu_seconds >= 0.3


def test_a_rate_near_that_against_nothing_is_said_to_be_client_bound() -> None:
    with load(NullSubject()) as generators:
        measured = generators.closed(1.0)
    found = objections(measured, processes=PROCESSES, null_rate=measured.throughput or 0.0)
    assert any("client-bound" in objection for objection in found)


def test_a_late_plan_is_neither_skipped_nor_put_off() -> None:
    with load(known_server(service_seconds=0.005), clients=1) as generators:
        measured = generators.open(Plan.constant(400, 1))
    assert measured.done == 400
    assert (measured.response_ms["p50"] or 0.0) > 300


def test_clients_that_are_too_few_for_the_plan_send_late() -> None:
    with load(known_server(service_seconds=0.002), clients=1) as generators:
        measured = generators.open(Plan.poisson(300, 2, seed=1))
    assert (measured.late_p99_ms or 0.0) > 1


def test_a_million_requests_need_less_than_300_megabytes() -> None:
    command = [sys.executable, "-m", "harness.probes.resources", "1000000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said["done"] == 1_000_000
    assert said["after"] < 300
    assert said["settled"] - said["before"] < 10


@pytest.mark.parametrize(("clients", "processes", "expected"), [(4, 2, [2, 2]), (5, 2, [3, 2]), (1, 2, [1])])
def test_clients_are_shared_evenly(clients: int, processes: int, expected: list[int]) -> None:
    assert shares(clients, processes) == expected


MILLION = 1_000_000
IN_RANGE = st.one_of(
    st.integers(LOWEST_NS, HIGHEST_NS),
    st.integers(LOWEST_NS, 10_000),
    st.builds(lambda power, step: 2**power + step, st.integers(10, 35), st.integers(-1, 1)),
)
ANY = st.one_of(IN_RANGE, st.integers(-(2**63), 2**63 - 1), st.sampled_from([999, 1_000, HIGHEST_NS + 1]))
SHARES = st.sampled_from(["0.01", "0.07", "0.25", "0.5", "0.75", "0.9", "0.99"])


def histogram_of(*values: int) -> Histogram:
    """Return a histogram of *values*."""
    histogram = Histogram()
    histogram.record_many(np.array(values, np.int64))
    return histogram


def latencies(count: int, seed: int = 1) -> NDArray[np.int64]:
    """Return nanoseconds as a service might have them, about 2 ms."""
    return np.random.default_rng(seed).lognormal(math.log(2e6), 0.8, count).astype(np.int64)


def exact_ms(values: list[int], share: str) -> float:
    """Return the smallest of *values* that at least *share* of them do not exceed, in ms."""
    return sorted(values)[math.ceil(Fraction(share) * len(values)) - 1] / 1e6


@given(st.lists(IN_RANGE, min_size=1, max_size=40), st.integers(1, 10), SHARES)
@settings(deadline=None)
def test_a_percentile_is_within_a_thousandth_of_the_exact_one(
    values: list[int], repeats: int, share: str
) -> None:
    values = values * (repeats + samples_needed(float(share)) // len(values))
    measured = histogram_of(*values).percentile(float(share))
    assert measured == pytest.approx(exact_ms(values, share), rel=1e-3)


@given(st.lists(ANY), st.lists(ANY))
@settings(deadline=None)
def test_every_value_is_counted_once_and_those_out_of_range_apart(first: list[int], then: list[int]) -> None:
    histogram = histogram_of(*first)
    histogram.record_many(np.array(then, np.int64))
    assert histogram.count == len(first + then)
    assert histogram.below == sum(value < LOWEST_NS for value in first + then)
    assert histogram.above == sum(value > HIGHEST_NS for value in first + then)
    assert histogram.out_of_range == histogram.below + histogram.above


def test_the_bounds_of_the_range_belong_to_it() -> None:
    assert histogram_of(LOWEST_NS, HIGHEST_NS).out_of_range == 0
    assert histogram_of(LOWEST_NS - 1).below == 1
    assert histogram_of(HIGHEST_NS + 1).above == 1


def test_a_percentile_that_lies_out_of_range_is_not_made_up() -> None:
    slow = histogram_of(*[2_000_000] * 980, *[HIGHEST_NS + 1] * 20)
    assert slow.percentile(0.98) == pytest.approx(2.0, rel=1e-3)
    assert slow.percentile(0.99) is None
    fast = histogram_of(*[0] * 60, *[2_000_000] * 40)
    assert fast.percentile(0.5) is None
    assert fast.percentile(0.61) == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize(
    ("share", "samples"), [(0.01, 1), (0.5, 1), (0.75, 13), (0.9, 36), (0.99, 368), (0.999, 3_688)]
)
def test_a_percentile_is_shown_from_the_number_of_samples_that_bounds_it(share: float, samples: int) -> None:
    assert samples_needed(share) == samples
    assert histogram_of(*[5_000] * (samples - 1)).percentile(share) is None
    assert histogram_of(*[5_000] * samples).percentile(share) == pytest.approx(0.005, rel=1e-3)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 99.0, float("nan")])
def test_a_share_that_is_no_percentile_is_refused(share: float) -> None:
    with pytest.raises(InvalidRequest) as caught:
        histogram_of(5_000).percentile(share)
    assert caught.value.code is Code.MALFORMED


@pytest.mark.parametrize("count", [443, 2_000])
def test_the_interval_of_a_99th_percentile_holds_the_true_one_in_95_of_100_windows(count: int) -> None:
    truth = 2.0 * math.exp(0.8 * 2.3263479)
    held = []
    for seed in range(400):
        low, high = histogram_of(*latencies(count, seed).tolist()).interval(0.99) or (0.0, 0.0)
        held.append(low <= truth <= high)
    print(f"the interval of a p99 of {count} samples holds the truth in {sum(held) / len(held):.1%}")
    assert sum(held) / len(held) >= 0.93


def test_a_percentile_that_is_not_shown_has_no_interval() -> None:
    assert histogram_of(*[5_000] * 100).interval(0.99) is None


def test_an_empty_histogram_says_nothing() -> None:
    histogram = histogram_of()
    assert (histogram.count, histogram.out_of_range) == (0, 0)
    assert histogram.percentile(0.5) is None


def test_milliseconds_recorded_as_floats_are_a_mistake() -> None:
    with pytest.raises(TypeError, match="float64"):
        Histogram().record_many(np.array([1.5]))


def test_ten_million_values_take_no_more_memory_than_one() -> None:
    histogram = Histogram()
    values = latencies(MILLION)
    exact = np.quantile(values, 0.99, method="inverted_cdf") / 1e6
    tracemalloc.start()
    try:
        for _ in range(10):
            histogram.record_many(values)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert histogram.count == 10 * MILLION
    assert histogram.percentile(0.99) == pytest.approx(exact, rel=1e-3)
    assert kept < 300_000
    assert peak < 4_000_000
