"""Statistics of trials: throughput, speedup and comparison with their intervals, and stationarity.

Trials are the unit of replication. Noise is taken to be a factor, so everything is done on logarithms: a
ratio of 2 is as far from 1 as a ratio of a half. Intervals are Student's t.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, stdev

from scipy.special import stdtrit

from lab.errors import Code, InvalidRequest

LEVEL = 0.95
FEWEST_TRIALS = 3
"""Below this no interval is given and nothing is called different."""
FEWEST_SLICES = 6
"""With five slices no order of them has a probability below 1 %."""
TREND_LEVEL = 0.01
TREND_CHANGE = 0.10


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its interval; *low* and *high* are None where too few *trials* were made for one."""

    value: float
    low: float | None
    high: float | None
    trials: int


class Verdict(StrEnum):
    """What a comparison of B with A shows."""

    FASTER = "faster"
    SLOWER = "slower"
    NO_DETECTABLE_DIFFERENCE = "no detectable difference"


@dataclass(frozen=True, slots=True)
class Comparison:
    """B against A. Ratios are of throughput: above 1, B is faster.

    *noise_ratio*, at least 1, is the ratio that A against itself may reach. *effect_size* is Cohen's d_z, the
    mean of the paired log ratios over their standard deviation; None if there is only one or they do not
    vary.
    """

    ratio: Estimate
    noise_ratio: float
    effect_size: float | None
    verdict: Verdict


def throughput_estimate(throughputs: Sequence[float], level: float = LEVEL) -> Estimate:
    """Return the geometric mean of the *throughputs* of trials, with its interval at *level*."""
    return _estimate(_logarithms("throughputs", throughputs), level)


def mean_estimate(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Return the arithmetic mean of *values*, with its interval: for what must add up."""
    if not values:
        raise InvalidRequest(Code.MALFORMED, "values: none were measured")
    mean, trials = fmean(values), len(values)
    if trials < FEWEST_TRIALS:
        return Estimate(mean, None, None, trials)
    margin = t_quantile(trials - 1, (1 + level) / 2) * _standard_error(values)
    return Estimate(mean, mean - margin, mean + margin, trials)


def speedup_estimate(at_n: Sequence[float], at_one: Sequence[float], level: float = LEVEL) -> Estimate:
    """Return the throughput *at_n* over that *at_one*, paired: one of each per block, in the same order."""
    _check_blocks(at_n=at_n, at_one=at_one)
    return _estimate(_differences(_logarithms("at_n", at_n), _logarithms("at_one", at_one)), level)


def compare(
    a: Sequence[float], b: Sequence[float], a_again: Sequence[float], level: float = LEVEL
) -> Comparison:
    """Compare B with A from blocks in each of which A was measured, and B, and A again.

    B is paired with the geometric mean of the block's two measurements of A, which takes a quarter off the
    variance of the ratio and cancels a drift that is steady over the block. It is called different if both
    hold:

    - the interval of its ratio at *level* excludes 1: against chance;
    - the ratio lies beyond the noise floor (:func:`_noise`): against a habit of the machine, such as a first
      run of each block that is always slower, which no number of blocks removes from the interval.

    A against A is therefore called different in at most 1 - *level* of the comparisons, even where the first
    or the last run of each block is off by a constant factor; where none is, in about 1 % with 5 blocks.
    """
    _check_blocks(a=a, b=b, a_again=a_again)
    first, again = _logarithms("a", a), _logarithms("a_again", a_again)
    middle = [(one + other) / 2 for one, other in zip(first, again, strict=True)]
    ratios = _differences(_logarithms("b", b), middle)
    ratio = _estimate(ratios, level)
    noise = _noise(_differences(again, first), level)
    spread = stdev(ratios) if len(ratios) > 1 else 0.0
    effect_size = fmean(ratios) / spread if spread else None
    return Comparison(ratio, math.exp(noise), effect_size, _verdict(ratio, noise))


def slower_than(comparison: Comparison, fraction: float) -> bool:
    """Say whether B is shown to be slower than A by more than *fraction* of A's throughput.

    It is when B's verdict is slower and the whole interval of the ratio lies below 1 - *fraction*.
    """
    if not 0 <= fraction < 1:
        raise InvalidRequest(
            Code.MALFORMED, f"fraction: {fraction} is not at least 0 and below 1 (10% is 0.1)"
        )
    high = comparison.ratio.high
    return comparison.verdict is Verdict.SLOWER and high is not None and high < 1 - fraction


def is_stationary(counts: Sequence[float]) -> bool:
    """Say whether the throughput in equal slices of a window, *counts* (six or more), stays where it is.

    It does not if there is a trend (Mann and Kendall's test, two-sided, at 1 %) and the means of the two
    halves differ by more than 10 % of the window's mean. A steady window is called unsteady in at most 1 % of
    cases if its slices are independent, and hardly ever if they vary by 5 %; in about 1 % if they vary by 5 %
    and follow each other (autocorrelation 0.5). Of windows of ten slices that vary by 5 %, a ramp of 30 % is
    seen in 8 of 10 and a step of 20 % in 3 of 10; of windows of twenty, both in 9 of 10. A dip in the middle
    is no trend.
    """
    if len(counts) < FEWEST_SLICES:
        message = f"counts: {len(counts)} slices are too few to show a trend; give {FEWEST_SLICES} or more"
        raise InvalidRequest(Code.MALFORMED, message)
    if not all(math.isfinite(count) and count >= 0 for count in counts):
        raise InvalidRequest(Code.MALFORMED, "counts: each must be a number, 0 or more")
    half = len(counts) // 2
    change = abs(fmean(counts[-half:]) - fmean(counts[:half]))
    if change <= TREND_CHANGE * fmean(counts):
        return True
    from scipy.stats import kendalltau  # a second to import: --help need not wait for it

    return float(kendalltau(range(len(counts)), counts).pvalue) >= TREND_LEVEL


def check_throughputs(name: str, throughputs: Sequence[float]) -> None:
    """Refuse *throughputs* that are none at all, or not positive: a run that loses anything has none."""
    if not throughputs:
        raise InvalidRequest(Code.MALFORMED, f"{name}: no trials")
    for throughput in throughputs:
        if not (math.isfinite(throughput) and throughput > 0):
            message = f"{name}: {throughput} is not a throughput; leave out trials that lost requests"
            raise InvalidRequest(Code.MALFORMED, message)


def t_quantile(degrees: int, probability: float) -> float:
    """Return Student's t with *degrees* of freedom that is not exceeded with *probability*."""
    return float(stdtrit(degrees, probability))


def _noise(repeats: Sequence[float], level: float) -> float:
    """Return the log of the ratio that A may reach against itself, from the log ratios of A again to A.

    It is how far a third measurement of A may lie from the middle of the two that were made: half of what
    separates them, which is where a first or last run that is off by a constant puts it, plus the one-sided
    margin of their difference at *level* (one-sided, because such a run errs in one direction). With too few
    blocks for an interval it is the largest ratio seen, and nothing is concluded from it.
    """
    if len(repeats) < FEWEST_TRIALS:
        return max(abs(repeat) for repeat in repeats)
    return abs(fmean(repeats)) / 2 + t_quantile(len(repeats) - 1, level) * _standard_error(repeats)


def _verdict(ratio: Estimate, noise: float) -> Verdict:
    if ratio.low is None or ratio.high is None or abs(math.log(ratio.value)) <= noise:
        return Verdict.NO_DETECTABLE_DIFFERENCE
    if ratio.low > 1:
        return Verdict.FASTER
    return Verdict.SLOWER if ratio.high < 1 else Verdict.NO_DETECTABLE_DIFFERENCE


def _estimate(logarithms: Sequence[float], level: float) -> Estimate:
    """Return the geometric mean, with its interval if there are enough trials."""
    if not 0.5 <= level < 1:
        raise InvalidRequest(Code.MALFORMED, f"level: {level} is not from 0.5 to below 1 (95 % is 0.95)")
    mean, trials = fmean(logarithms), len(logarithms)
    if trials < FEWEST_TRIALS:
        return Estimate(math.exp(mean), None, None, trials)
    margin = t_quantile(trials - 1, (1 + level) / 2) * _standard_error(logarithms)
    return Estimate(math.exp(mean), math.exp(mean - margin), math.exp(mean + margin), trials)


def _standard_error(values: Sequence[float]) -> float:
    return stdev(values) / math.sqrt(len(values))


def _differences(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(ones, others, strict=True)]


def _check_blocks(**series: Sequence[float]) -> None:
    """Pairing needs one value of each series per block."""
    if len({len(values) for values in series.values()}) > 1:
        counts = ", ".join(f"{name}: {len(values)}" for name, values in series.items())
        raise InvalidRequest(Code.MALFORMED, f"one throughput of each per block is needed, not {counts}")


def _logarithms(name: str, throughputs: Sequence[float]) -> list[float]:
    check_throughputs(name, throughputs)
    return [math.log(throughput) for throughput in throughputs]
