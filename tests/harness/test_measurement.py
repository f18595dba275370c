"""Figures of a window: how exact percentiles are, what they refuse to say, and what they cost."""

import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.record.measurement import HIGHEST_NS, LOWEST_NS, Histogram, samples_needed
from lab.errors import Code, InvalidRequest

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
