"""The Universal Scalability Law, the processors' ceiling, and the sentence that says what limits."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.analysis.scalability import Usl, cpu_ceiling, fit_usl, limit_sentence
from harness.analysis.verdicts import Speedup, speedups
from harness.record.measurement import Usage
from harness.report.formatting import spread
from harness.statistics import Estimate
from lab.errors import InvalidRequest
from tests.harness.runs import run_of, speedup_points, window

NODES = [1, 2, 3, 4, 6, 8]
TRIALS = 5
EXPERIMENTS = 500
T_4 = 2.776445
"""Student's t with 4 degrees of freedom, two-sided 95 %."""
TRUTH = (100.0, 0.05, 0.01)
"""gamma, alpha and beta of the simulated system."""


def law(gamma: float, alpha: float, beta: float, nodes: list[int]) -> NDArray[np.float64]:
    """Return the throughput that the law says."""
    n = np.array(nodes, dtype=np.float64)
    throughput: NDArray[np.float64] = gamma * n / (1 + alpha * (n - 1) + beta * n * (n - 1))
    return throughput


def simulated(throughputs: NDArray[np.float64], is_factor: bool) -> list[Usl]:
    """Return the fits of experiments whose trials vary by 3 %: of each, or (a constant) of their mean."""
    noise = np.random.default_rng(1).normal(0.0, 0.03, (EXPERIMENTS, len(throughputs)))
    trials = throughputs * np.exp(noise) if is_factor else throughputs + noise * throughputs.mean()
    return [fit_usl(NODES * TRIALS, list(experiment)) for experiment in trials]


def coverage(fits: list[Usl]) -> list[float]:
    """Return for gamma, alpha and beta how many of the intervals hold the true value."""
    series = zip(*((fit.gamma, fit.alpha, fit.beta) for fit in fits), strict=True)
    return [
        sum((e.low or 0.0) <= true <= (math.inf if e.high is None else e.high) for e in estimates) / len(fits)
        for estimates, true in zip(series, TRUTH, strict=True)
    ]


def around(value: float, margin: float = 0.05) -> Estimate:
    """Return an estimate of five trials."""
    return Estimate(value, value - margin, value + margin, 5)


def usl(alpha: Estimate | None = None) -> Usl:
    """Return a fit with this contention, none by default."""
    return Usl(around(100.0), alpha or Estimate(0.0, 0.0, 0.01, 5), Estimate(0.0, 0.0, 0.001, 5))


def test_the_fit_of_a_published_measurement_is_the_published_one() -> None:
    """SPEC SDM91: the estimates and standard errors of the R package usl (github.com/smoeding/usl)."""
    fit = fit_usl([1, 18, 36, 72, 108, 144, 216], [64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2])
    published = [(89.995233, 14.2134894), (0.0277285, 0.0091217), (0.0001044, 0.0000199)]
    for estimate, (value, error) in zip((fit.gamma, fit.alpha, fit.beta), published, strict=True):
        assert estimate.value == pytest.approx(value, rel=1e-3)
        assert estimate.low == pytest.approx(value - T_4 * error, rel=5e-3)
        assert estimate.high == pytest.approx(value + T_4 * error, rel=5e-3)


def test_the_fit_of_the_law_itself_is_exact() -> None:
    fit = fit_usl(NODES, list(law(1234.5, 0.03, 0.002, NODES)))
    assert (fit.gamma.value, fit.alpha.value, fit.beta.value) == pytest.approx((1234.5, 0.03, 0.002))


def test_the_order_and_the_unit_of_the_trials_do_not_matter() -> None:
    throughputs = [100.0, 180.0, 250.0, 290.0, 340.0, 350.0]
    fit = fit_usl(NODES, throughputs)
    other = fit_usl(NODES[::-1], [1_000.0 * throughput for throughput in throughputs[::-1]])
    assert other.gamma.value == pytest.approx(1_000.0 * fit.gamma.value)
    assert (other.alpha.value, other.beta.value) == pytest.approx((fit.alpha.value, fit.beta.value))


def test_linear_growth_has_neither_contention_nor_a_peak() -> None:
    fit = fit_usl(NODES, [100.0 * nodes for nodes in NODES])
    assert (fit.alpha.value, fit.beta.value) == pytest.approx((0.0, 0.0), abs=1e-9)


def test_growth_beyond_linear_stays_within_the_bounds() -> None:
    fit = fit_usl([1, 2, 3] * 3, [100.0, 215.0, 330.0] * 3)
    assert (fit.alpha.value, fit.beta.value) == (0.0, 0.0)
    assert fit.alpha.low == 0.0


def test_no_growth_at_all_is_contention_alone() -> None:
    fit = fit_usl(NODES, [100.0] * len(NODES))
    assert fit.alpha.value == pytest.approx(1.0)
    assert fit.beta.value == 0.0


def test_three_trials_give_estimates_without_intervals() -> None:
    fit = fit_usl([1, 2, 3], [100.0, 120.0, 110.0])
    assert (fit.gamma.low, fit.alpha.high, fit.beta.low) == (None, None, None)
    assert fit.beta.trials == 3


def test_the_intervals_of_a_fit_hold_the_true_values_in_95_of_100_experiments() -> None:
    rates = coverage(simulated(law(*TRUTH, NODES * TRIALS), is_factor=False))
    assert all(0.93 <= rate <= 0.97 for rate in rates), rates


def test_the_intervals_of_a_fit_hold_the_true_values_as_often_where_noise_is_a_factor() -> None:
    rates = coverage(simulated(law(*TRUTH, NODES * TRIALS), is_factor=True))
    assert all(rate >= 0.92 for rate in rates), rates


def run_on(cores: float, seed: int, falls: float = 1.0, *, is_fresh: bool = True) -> Speedup:
    """Return the speedup of nodes that make 100/s each, on *cores* of which each keeps one busy.

    Beyond four nodes each one more costs the factor *falls*.
    """
    noise = np.random.default_rng(seed)
    points = []
    for template in speedup_points(blocks=TRIALS, is_trial=is_fresh)[::3]:
        for nodes in NODES:
            made = 100.0 * min(nodes, cores) * falls ** max(0, nodes - 4) * math.exp(noise.normal(0, 0.03))
            spent = Usage({"node": min(nodes, cores)}, {}, busy_share=min(nodes, cores) / 2)
            seen = window(made, generator_cpu_seconds=0.0)
            points.append(replace(template, nodes=nodes, measurement=seen, usage=spent, work="10ms waiting"))
    [found] = speedups(run_of(*points, environment={"cores": 2}))
    return found


def test_a_full_machine_is_never_said_to_have_a_peak() -> None:
    """X = min(N, 1.8) on two cores: the law bends, and had "the peak at about 4.4 nodes"."""
    said = [run_on(1.8, seed).sentence for seed in range(50)]
    assert sum("more nodes make less" in sentence for sentence in said) <= 2
    assert not any("peak" in sentence for sentence in said)
    assert all("nodes on the machine was full" in sentence for sentence in said)


def test_trials_on_a_full_machine_are_not_fitted() -> None:
    found = run_on(1.85, seed=1)
    assert found.full_from == 2
    assert found.usl is None


def test_a_fall_that_was_measured_is_told() -> None:
    assert "more nodes make less of it" in run_on(1.8, seed=1, falls=0.8).sentence


def test_a_slow_single_node_does_not_look_like_good_scaling() -> None:
    """Redis made 168/s alone where 5 ms a text allow 200/s, and three times that with three nodes."""
    points = [replace(p, measurement=window(0.84 * p.throughput)) for p in speedup_points(blocks=1)]
    [found] = speedups(run_of(*points))
    assert found.estimates[3].value == pytest.approx(3.0)
    assert found.share_of_ideal(3).value == pytest.approx(0.84)
    assert "84% of 3 x 200/s, the work's ideal" in found.sentence


def test_repetitions_have_a_range_and_no_interval() -> None:
    """The blocks of a run of three on processes that stayed up; trials have Student's t."""
    repeats, trials = run_on(100.0, seed=3, is_fresh=False), run_on(100.0, seed=3)
    assert repeats.estimates[8].is_range
    assert not trials.estimates[8].is_range
    assert repeats.estimates[8].value == trials.estimates[8].value
    assert "repetitions" in repeats.sentence
    assert "repetitions" not in trials.sentence
    assert spread([repeats]) == ["5 repetitions", "bars from the lowest to the highest"]
    assert spread([trials]) == ["5 trials", "bars: 95 % intervals"]


@pytest.mark.parametrize(
    ("nodes", "throughputs"),
    [
        ([], []),
        ([1, 2, 3], [1.0, 2.0]),
        ([1, 2, 2, 1], [1.0, 2.0, 2.0, 1.0]),
        ([0, 1, 2], [1.0, 2.0, 3.0]),
        ([1, 2, 3], [1.0, 2.0, 0.0]),
        ([1, 2, 3], [1.0, 2.0, math.nan]),
    ],
)
def test_trials_that_cannot_be_fitted_are_invalid_requests(
    nodes: list[int], throughputs: list[float]
) -> None:
    with pytest.raises(InvalidRequest):
        fit_usl(nodes, throughputs)


def test_the_ceiling_is_the_number_of_nodes_while_processors_are_idle() -> None:
    assert cpu_ceiling(3, throughput_at_one=100.0, cpu_seconds_per_request=0.001, cores=2) == 3.0


def test_the_ceiling_is_what_the_processors_allow_when_they_are_busy() -> None:
    assert cpu_ceiling(8, throughput_at_one=400.0, cpu_seconds_per_request=0.002, cores=2) == pytest.approx(
        2.5
    )


def test_requests_that_cost_no_processor_time_are_not_limited_by_it() -> None:
    assert cpu_ceiling(8, throughput_at_one=400.0, cpu_seconds_per_request=0.0, cores=2) == 8.0


@pytest.mark.parametrize(
    ("nodes", "throughput", "cpu", "cores"),
    [(0, 1.0, 1.0, 1), (1, 0.0, 1.0, 1), (1, 1.0, -1.0, 1), (1, 1.0, math.nan, 1), (1, 1.0, 1.0, 0)],
)
def test_a_ceiling_of_impossible_figures_is_an_invalid_request(
    nodes: int, throughput: float, cpu: float, cores: int
) -> None:
    with pytest.raises(InvalidRequest):
        cpu_ceiling(nodes, throughput, cpu, cores)


FALLS = {2: around(1.9), 3: around(2.3), 8: around(1.5)}
SENTENCES = {
    "at the ceiling": (
        ({2: around(1.8), 8: around(2.4)}, {2: 2.0, 8: 2.5}, usl(), 2),
        "2.40 times (2.35 to 2.45) at 8 nodes: limited by the 2 cores of this machine, which allow 2.50.",
    ),
    "one core": (({3: around(1.2)}, {3: 1.25}, None, 1), "limited by the only core of this machine"),
    "linear": (
        ({1: around(1.0, 0.0), 3: around(2.97)}, {3: 3.0}, usl(), 2),
        "2.97 times (2.92 to 3.02) at 3 nodes: linear within the interval.",
    ),
    "nearly linear": (({8: around(7.6)}, {8: 8.0}, None, 2), "at 8 nodes: 95% of linear"),
    "beyond linear": (({3: around(3.5)}, {3: 3.0}, None, 2), "doubt the measurement at one node"),
    "far below the ceiling": (
        ({8: around(2.0)}, {8: 4.0}, None, 2),
        "limited by something else before the 2 cores of this machine, which allow 4.00",
    ),
    "contention": (
        ({8: around(4.0)}, {8: 8.0}, usl(alpha=around(0.143, 0.02)), 64),
        "limited by contention, 14.3% of the work being done one after the other",
    ),
    "no reason": (({8: around(4.0)}, {}, usl(), 64), "less than linear, the data do not say why"),
    "a wide interval": (
        ({8: Estimate(2.2, 1.2, 3.9, 3)}, {8: 2.5}, None, 2),
        "the interval is too wide to say what limits it",
    ),
    "two trials": (
        ({3: Estimate(2.9, None, None, 2)}, {3: 3.0}, None, 2),
        "2.90 times at 3 nodes: too few trials to say what limits it.",
    ),
    "a fall": (
        (FALLS, {2: 2.0, 3: 2.4, 8: 2.4}, usl(), 2),
        "2.30 times (2.25 to 2.35) at 3 nodes: limited by the 2 cores of this machine, which allow 2.40; "
        "more nodes make less of it: 1.50 times (1.45 to 1.55) at 8.",
    ),
    "one node": (
        ({1: around(1.0)}, {1: 1.0}, None, 2),
        "Only one node was measured, which says nothing about scaling.",
    ),
}
"""Speedups, ceilings, the law and the cores; and what is said of them."""


@pytest.mark.parametrize("case", SENTENCES)
def test_the_sentence_names_the_limit_that_the_data_show(case: str) -> None:
    given, said = SENTENCES[case]
    assert said in limit_sentence(*given)
