"""The statistics of trials: known answers, and the promised rates of error in simulated experiments."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.statistics import (
    Verdict,
    compare,
    holm,
    is_stationary,
    paired,
    speedup_estimate,
    throughput_estimate,
)
from lab.errors import InvalidRequest

EXPERIMENTS = 1_000
FALSE_ALARMS = 0.07
"""A promised 5 %, and three standard errors of a rate that is counted in 1,000 experiments."""
POWER = 0.9
T_4 = 2.776445
"""Student's t with 4 degrees of freedom, two-sided 95 %."""


def trials(seed: int, *shape: int, spread: float = 0.05) -> NDArray[np.float64]:
    """Return throughputs around 1,000 that vary by the factor *spread*."""
    return 1_000.0 * np.exp(np.random.default_rng(seed).normal(0.0, spread, shape))


def share_called_different(runs: NDArray[np.float64]) -> float:
    """Return how many of *runs*, of shape (experiments, 3, blocks), are called different."""
    return share_called(runs, Verdict.FASTER) + share_called(runs, Verdict.SLOWER)


def share_called(runs: NDArray[np.float64], verdict: Verdict) -> float:
    """Return how many of *runs*, of shape (experiments, 3, blocks), have this verdict."""
    verdicts = [compare(list(a), list(b), list(again)).verdict for a, b, again in runs]
    return verdicts.count(verdict) / len(runs)


def test_a_throughput_is_the_geometric_mean_with_an_interval_by_students_t() -> None:
    estimate = throughput_estimate([math.exp(x) for x in (1.0, 2.0, 3.0, 4.0, 5.0)])
    margin = T_4 * math.sqrt(2.5 / 5)
    assert estimate.low is not None
    assert estimate.high is not None
    assert math.log(estimate.value) == pytest.approx(3.0)
    assert math.log(estimate.low) == pytest.approx(3.0 - margin, abs=1e-6)
    assert math.log(estimate.high) == pytest.approx(3.0 + margin, abs=1e-6)
    assert estimate.trials == 5


def test_fewer_than_three_trials_have_no_interval() -> None:
    estimate = throughput_estimate([100.0, 400.0])
    assert estimate.value == pytest.approx(200.0)
    assert (estimate.low, estimate.high, estimate.trials) == (None, None, 2)


@pytest.mark.parametrize("bad", [[], [0.0, 1.0], [1.0, -1.0], [1.0, math.nan], [1.0, math.inf]])
def test_what_is_not_a_throughput_is_an_invalid_request(bad: list[float]) -> None:
    with pytest.raises(InvalidRequest):
        throughput_estimate(bad)


@pytest.mark.parametrize("count", [3, 5])
def test_the_interval_of_a_throughput_holds_the_true_one_in_95_of_100_experiments(count: int) -> None:
    estimates = [throughput_estimate(list(run)) for run in trials(1, EXPERIMENTS, count)]
    covered = [e.low is not None and e.high is not None and e.low <= 1_000.0 <= e.high for e in estimates]
    assert 0.93 <= sum(covered) / EXPERIMENTS <= 0.97


def test_a_speedup_is_paired_by_block_so_that_a_slow_block_does_not_widen_it() -> None:
    speedup = speedup_estimate(at_n=[200.0, 100.0, 400.0], at_one=[100.0, 50.0, 200.0])
    assert (speedup.value, speedup.low, speedup.high) == pytest.approx((2.0, 2.0, 2.0))


def test_the_interval_of_a_speedup_holds_the_true_one_in_95_of_100_experiments() -> None:
    blocks = trials(2, EXPERIMENTS, 1, 5, spread=0.5)
    runs = trials(3, EXPERIMENTS, 2, 5) * blocks * np.array([[3.0], [1.0]])
    estimates = [speedup_estimate(list(at_n), list(at_one)) for at_n, at_one in runs]
    covered = [e.low is not None and e.high is not None and e.low <= 3.0 <= e.high for e in estimates]
    assert 0.93 <= sum(covered) / EXPERIMENTS <= 0.97


def test_series_of_different_lengths_cannot_be_paired() -> None:
    with pytest.raises(InvalidRequest, match="at_n: 2, at_one: 3"):
        speedup_estimate([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(InvalidRequest, match="a: 2, b: 2, a_again: 1"):
        compare([1.0, 2.0], [1.0, 2.0], [1.0])


def test_no_blocks_at_all_cannot_be_compared() -> None:
    with pytest.raises(InvalidRequest):
        compare([], [], [])


def test_a_b_that_is_faster_beyond_the_noise_is_faster() -> None:
    comparison = compare([100.0, 101.0, 99.0], [120.0, 121.0, 119.5], [101.0, 100.0, 99.5])
    assert comparison.verdict is Verdict.FASTER
    assert comparison.ratio.value == pytest.approx(1.2, abs=0.01)
    assert 1.0 <= comparison.noise_ratio < 1.05
    assert comparison.effect_size is not None
    assert comparison.effect_size > 10


def test_a_and_b_swapped_is_slower_by_the_inverse_ratio() -> None:
    a, b = [100.0, 101.0, 99.0], [120.0, 121.0, 119.5]
    comparison = compare(b, a, b)
    assert comparison.verdict is Verdict.SLOWER
    assert comparison.ratio.value == pytest.approx(1 / compare(a, b, a).ratio.value)


def test_the_effect_size_is_the_mean_log_ratio_in_standard_deviations() -> None:
    comparison = compare([1.0] * 3, [math.exp(x) for x in (1.0, 2.0, 3.0)], [1.0] * 3)
    assert comparison.effect_size == pytest.approx(2.0)


def test_an_effect_size_is_not_given_where_nothing_varies() -> None:
    assert compare([100.0] * 3, [100.0] * 3, [100.0] * 3).effect_size is None
    assert compare([100.0], [200.0], [100.0]).effect_size is None


def test_with_fewer_than_three_blocks_nothing_is_called_different() -> None:
    comparison = compare([100.0, 100.0], [900.0, 900.0], [100.0, 110.0])
    assert comparison.verdict is Verdict.UNDECIDED
    assert comparison.noise_ratio == pytest.approx(1.1)


def test_a_difference_that_a_has_to_itself_is_not_called_one() -> None:
    """The interval excludes 1, and the first run of each block is slower by as much."""
    comparison = compare([100.0, 101.0, 99.0], [110.0, 111.5, 109.0], [110.5, 111.0, 109.0])
    assert comparison.ratio.low is not None
    assert comparison.ratio.low > 1
    assert comparison.verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("blocks", [3, 5, 10])
def test_a_against_a_is_called_different_in_at_most_5_of_100_comparisons(blocks: int) -> None:
    assert share_called_different(trials(4, EXPERIMENTS, 3, blocks)) <= FALSE_ALARMS


@pytest.mark.parametrize("habit", [(0.9, 1.0, 1.0), (0.95, 1.0, 1.0), (1.0, 1.0, 0.9), (1.0, 1.0, 1.05)])
def test_a_against_a_is_so_even_where_the_first_or_last_run_of_each_block_is_off(
    habit: tuple[float, float, float],
) -> None:
    runs = trials(5, EXPERIMENTS, 3, 5) * np.array(habit)[:, np.newaxis]
    assert share_called_different(runs) <= FALSE_ALARMS


def test_a_b_that_is_15_percent_faster_is_found_in_most_comparisons_of_five_noisy_blocks() -> None:
    runs = trials(6, EXPERIMENTS, 3, 5) * np.array([[1.0], [1.15], [1.0]])
    assert share_called_different(runs) > 0.8


def test_a_against_a_is_called_equivalent_where_blocks_are_many_or_calm() -> None:
    power = [
        share_called(trials(7, 200, 3, 10, spread=spread), Verdict.EQUIVALENT) for spread in (0.02, 0.05)
    ]
    print("equivalent, of A against A in 10 blocks that vary by 2 % and 5 %:", power)
    assert power[0] >= POWER


@pytest.mark.parametrize("habit", [(1.0, 1.0, 1.0), (0.8, 1.0, 1.0), (1.0, 1.0, 0.85)])
@pytest.mark.parametrize("ratio", [1 / 1.05, 1.05])
def test_what_differs_by_five_percent_is_called_equivalent_in_at_most_5_of_100_comparisons(
    ratio: float, habit: tuple[float, float, float]
) -> None:
    """A habit of the machine, such as a slow first run of each block, does not make them equivalent."""
    for blocks, spread in ((5, 0.02), (10, 0.05)):
        runs = trials(8, EXPERIMENTS, 3, blocks, spread=spread)
        runs = runs * np.array([[habit[0]], [ratio * habit[1]], [habit[2]]])
        assert share_called(runs, Verdict.EQUIVALENT) <= FALSE_ALARMS


def test_a_difference_that_is_shown_but_within_five_percent_is_called_equivalent() -> None:
    comparison = compare([100.0, 100.1, 99.9], [102.0, 102.1, 101.9], [100.1, 100.0, 99.9])
    assert comparison.ratio.low is not None
    assert comparison.ratio.low > 1
    assert comparison.verdict is Verdict.EQUIVALENT


def test_pairs_without_a_floor_of_noise_have_the_same_verdicts_and_a_p_value() -> None:
    found = paired([120.0, 121.0, 119.5], [100.0, 101.0, 99.0])
    assert (found.verdict, found.p_value < 0.01) == (Verdict.FASTER, True)
    assert paired([100.0, 101.0, 99.0], [100.0, 101.0, 99.1]).verdict is Verdict.EQUIVALENT
    assert paired([120.0, 121.0, 119.5], [100.0, 101.0, 99.0], noise_ratio=1.3).verdict is Verdict.UNDECIDED
    assert paired([120.0, 121.0], [100.0, 101.0]).p_value == 1.0
    assert paired([120.0, 121.0], [100.0, 101.0]).verdict is Verdict.UNDECIDED


def test_holms_correction_is_the_published_one() -> None:
    """Holm (1979); the adjusted values of R's p.adjust."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("pairs", [3, 7])
def test_of_forty_changes_without_effect_one_is_found_in_at_most_5_of_100_runs(pairs: int) -> None:
    runs = trials(9, 200, 40, 2, pairs)
    p_values = [[paired(list(over), list(under)).p_value for over, under in run] for run in runs]
    uncorrected = sum(min(run) < 0.05 for run in p_values) / len(runs)
    false = sum(min(holm(run)) < 0.05 for run in p_values) / len(runs)
    print(f"a false finding among 40 changes of {pairs} pairs: {uncorrected:.2f}, corrected {false:.3f}")
    assert uncorrected > 0.5
    assert false <= 0.1


def correlated(noise: NDArray[np.float64], share: float = 0.5) -> NDArray[np.float64]:
    """Return *noise* in which each slice keeps *share* of what the one before it was off by."""
    kept = noise.copy()
    for index in range(1, noise.shape[1]):
        kept[:, index] = share * kept[:, index - 1] + math.sqrt(1 - share**2) * noise[:, index]
    return kept


def windows(seed: int, spread: float, correlation: float) -> NDArray[np.float64]:
    """Return the slices of windows in which nothing changes."""
    noise = np.random.default_rng(seed).normal(0.0, spread, (EXPERIMENTS, 20))
    return np.exp(correlated(noise, correlation))


@pytest.mark.parametrize(
    ("spread", "correlation"),
    [(0.05, 0.0), (0.2, 0.0), (0.05, 0.5), (0.1, 0.5), (0.2, 0.5), (0.3, 0.3), (0.05, 0.9), (0.1, 0.7)],
)
def test_a_stationary_window_is_called_so_in_95_of_100_cases_also_where_slices_follow_each_other(
    spread: float, correlation: float
) -> None:
    alarms = sum(not is_stationary(list(window)) for window in windows(7, spread, correlation)) / EXPERIMENTS
    print(f"false alarms at a spread of {spread:.0%} and a correlation of {correlation}: {alarms:.3f}")
    assert alarms <= 0.055


@pytest.mark.parametrize(("spread", "correlation"), [(0.05, 0.0), (0.1, 0.0), (0.05, 0.5), (0.1, 0.5)])
def test_a_first_quarter_at_half_speed_is_seen_in_90_of_100_windows(
    spread: float, correlation: float
) -> None:
    slow = windows(8, spread, correlation) * np.where(np.arange(20) < 5, 0.5, 1.0)
    power = sum(not is_stationary(list(window)) for window in slow) / EXPERIMENTS
    print(f"seen at a spread of {spread:.0%} and a correlation of {correlation}: {power:.3f}")
    assert power >= POWER


@pytest.mark.parametrize("end", [0.6, 1.4])
def test_a_window_that_gets_slower_or_faster_throughout_is_not_stationary(end: float) -> None:
    ramps = trials(8, 300, 20) * np.linspace(1.0, end, 20)
    assert sum(is_stationary(list(window)) for window in ramps) / len(ramps) < 0.1


def test_a_warm_up_that_reaches_into_the_window_is_not_stationary() -> None:
    assert not is_stationary([40.0, 60.0, 75.0, 85.0, 91.0, 95.0, 97.0, 98.0, 99.0, 100.0])


def test_a_trend_of_a_few_percent_is_stationary_enough() -> None:
    assert is_stationary([1_000.0 + 5.0 * index for index in range(20)])


@pytest.mark.parametrize("count", [0.0, 100.0])
def test_a_window_in_which_nothing_changes_is_stationary(count: float) -> None:
    assert is_stationary([count] * 10)


@pytest.mark.parametrize("bad", [[], [1.0] * 5, [1.0] * 9 + [-1.0], [1.0] * 9 + [math.nan]])
def test_windows_that_cannot_be_judged_are_invalid_requests(bad: list[float]) -> None:
    with pytest.raises(InvalidRequest):
        is_stationary(bad)
