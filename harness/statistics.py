"""Statistics of trials: throughput, speedup and comparison with their intervals, and stationarity.

Trials are the unit of replication. Noise is taken to be a factor, so everything is done on logarithms: a
ratio of 2 is as far from 1 as a ratio of a half. Intervals are Student's t. Their rates of error are counted
in simulated experiments by tests/harness/test_statistics.py; docs/measuring-reference.md has the figures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from lab.errors import Code, InvalidRequest

Floats = NDArray[np.float64]
LEVEL = 0.95
FEWEST_TRIALS = 3
"""Below this no interval is given and nothing is called different."""
EQUIVALENT = 1.05
"""What differs by a smaller factor makes no difference for a choice."""
FEWEST_SLICES = 6
TREND_T = 3.5
"""Standard errors by which a change within a window must be shown."""
QUARTER_CHANGE, HALF_CHANGE, RISE = 0.20, 0.15, 0.20
"""Of a window's mean: a smaller change of its first quarter, of a half, or along all of it moves the mean by
5 % at most, or 7.5 %, and is let pass."""
MOST_CORRELATION = 0.9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its interval; *low* and *high* are None where too few *trials* were made for one."""

    value: float
    low: float | None
    high: float | None
    trials: int
    is_range: bool = False
    """*low* and *high* are the lowest and the highest of repetitions on the same processes: no interval."""


class Verdict(StrEnum):
    """What a comparison of B with A shows."""

    FASTER = "faster"
    SLOWER = "slower"
    EQUIVALENT = "equivalent within 5 %"
    UNDECIDED = "undecided"


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


@dataclass(frozen=True, slots=True)
class Paired:
    """The ratio of two throughputs that were measured in the same blocks, and what it shows."""

    ratio: Estimate
    verdict: Verdict
    p_value: float
    """The chance of such a ratio if there were no difference; 1 with too few blocks for an interval."""


def throughput_estimate(throughputs: Sequence[float]) -> Estimate:
    """Return the geometric mean of the *throughputs* of trials, with its 95 % interval."""
    return _estimate(_logarithms("throughputs", throughputs))


def mean_estimate(values: Sequence[float]) -> Estimate:
    """Return the arithmetic mean of *values*, with its 95 % interval: for what must add up."""
    if not values:
        raise InvalidRequest(Code.MALFORMED, "values: none were measured")
    mean, trials = fmean(values), len(values)
    if trials < FEWEST_TRIALS:
        return Estimate(mean, None, None, trials)
    margin = t_quantile(trials - 1, (1 + LEVEL) / 2) * _standard_error(values)
    return Estimate(mean, mean - margin, mean + margin, trials)


def speedup_estimate(at_n: Sequence[float], at_one: Sequence[float]) -> Estimate:
    """Return the throughput *at_n* over that *at_one*, paired: one of each per block, in the same order."""
    _check_blocks(at_n=at_n, at_one=at_one)
    return _estimate(_differences(_logarithms("at_n", at_n), _logarithms("at_one", at_one)))


def repeated(over: Sequence[float], under: Sequence[float]) -> Estimate:
    """Return the ratio of what was measured in pairs on processes that stayed up, and its range.

    Repetitions share the luck of their processes. An interval from them would hold the truth too seldom.
    """
    found = speedup_estimate(over, under)
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    if found.low is None:
        return replace(found, is_range=True)
    return Estimate(found.value, min(ratios), max(ratios), found.trials, is_range=True)


def paired(over: Sequence[float], under: Sequence[float], noise_ratio: float = 1.0) -> Paired:
    """Compare *over* with *under*, one throughput of each per block.

    *noise_ratio*: how far the same may come from itself; what lies within it is not called different.
    """
    _check_blocks(over=over, under=under)
    ratios = _differences(_logarithms("over", over), _logarithms("under", under))
    return Paired(_estimate(ratios), _verdict(ratios, math.log(noise_ratio)), _p_value(ratios))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return *p_values* as many tests at once allow them (Holm's correction), in the same order.

    Where those below 0.05 are called findings, there is a false one in at most 5 % of runs, however many
    changes are tested.
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def compare(a: Sequence[float], b: Sequence[float], a_again: Sequence[float]) -> Comparison:
    """Compare B with A from blocks in each of which A was measured, and B, and A again.

    B is paired with the geometric mean of the block's two measurements of A, which takes a quarter off the
    variance of the ratio and cancels a drift that is steady over the block. It is equivalent if two one-sided
    tests show that the ratio is within 5 % of 1, also if a habit of the machine (below) has moved it. Else it
    is called different if both hold:

    - the 95 % interval of its ratio excludes 1: against chance;
    - the ratio lies beyond the noise floor (:func:`_noise`): against a habit of the machine, such as a first
      run of each block that is always slower, which no number of blocks removes from the interval.

    A against A is therefore called different in at most 5 % of the comparisons, even where the first
    or the last run of each block is off by a constant factor; where none is, in about 1 % with 5 blocks. What
    differs by 5 % or more is called equivalent in at most 5 %.
    """
    _check_blocks(a=a, b=b, a_again=a_again)
    first, again = _logarithms("a", a), _logarithms("a_again", a_again)
    middle = [(one + other) / 2 for one, other in zip(first, again, strict=True)]
    ratios = _differences(_logarithms("b", b), middle)
    repeats = _differences(again, first)
    noise = _noise(repeats)
    spread = stdev(ratios) if len(ratios) > 1 else 0.0
    effect_size = fmean(ratios) / spread if spread else None
    verdict = _verdict(ratios, noise, abs(fmean(repeats)) / 2)
    return Comparison(_estimate(ratios), math.exp(noise), effect_size, verdict)


def is_stationary(counts: Sequence[float]) -> bool:
    """Say whether the throughput in equal slices of a window, *counts* (six or more), stays where it is.

    It does not if its first quarter differs from the rest, or one half from the other, or it rises or falls
    throughout, by more than matters (``QUARTER_CHANGE``, ``HALF_CHANGE``, ``RISE``) and by ``TREND_T``
    standard errors. These are of slices that follow each other: the correlation of the residuals counts.
    """
    if len(counts) < FEWEST_SLICES:
        message = f"counts: {len(counts)} slices are too few to show a trend; give {FEWEST_SLICES} or more"
        raise InvalidRequest(Code.MALFORMED, message)
    if not all(math.isfinite(count) and count >= 0 for count in counts):
        raise InvalidRequest(Code.MALFORMED, "counts: each must be a number, 0 or more")
    number, mean = len(counts), fmean(counts)
    places = np.arange(number)
    shapes = (
        (places < round(number / 4), QUARTER_CHANGE),
        (places < number // 2, HALF_CHANGE),
        (places / (number - 1), RISE),
    )
    values = np.asarray(counts, dtype=np.float64)
    for shape, least in shapes:
        change, error = _change(values, np.asarray(shape, dtype=np.float64))
        if abs(change) > least * mean and abs(change) > TREND_T * error:
            return False
    return True


def _change(values: Floats, shape: Floats) -> tuple[float, float]:
    """Return how much of *shape* is in *values* by least squares, and its standard error.

    The residuals are taken to follow each other as a first-order autoregression; its estimate is corrected
    for the few slices. Where they do, a mean of many slices is worth that of few.
    """
    number, lags = len(values), np.arange(1, len(values))
    shape = shape - shape.mean()
    size = float(shape @ shape)
    change = float(values @ shape) / size
    residuals = values - values.mean() - change * shape
    square = float(residuals @ residuals)
    if not square:
        return change, 0.0
    seen = float(residuals[1:] @ residuals[:-1]) / square
    kept = min(max((number * seen + 2) / (number - min(5, number - 3)), 0.0), MOST_CORRELATION) ** lags
    overlap = np.array([shape[lag:] @ shape[:-lag] for lag in lags]) / size
    inflation = 1 + 2 * float(kept @ overlap)
    of_mean = 1 + 2 * float(kept @ (1 - lags / number))
    variance = square / max(number - of_mean - inflation, 0.15 * number)
    return change, math.sqrt(variance * inflation / size)


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


def _noise(repeats: Sequence[float]) -> float:
    """Return the log of the ratio that A may reach against itself, from the log ratios of A again to A.

    It is how far a third measurement of A may lie from the middle of the two that were made: half of what
    separates them, which is where a first or last run that is off by a constant puts it, plus the one-sided
    margin of their difference at 95 % (one-sided, because such a run errs in one direction). With too few
    blocks for an interval it is the largest ratio seen, and nothing is concluded from it.
    """
    if len(repeats) < FEWEST_TRIALS:
        return max(abs(repeat) for repeat in repeats)
    return abs(fmean(repeats)) / 2 + t_quantile(len(repeats) - 1, LEVEL) * _standard_error(repeats)


def _verdict(ratios: Sequence[float], noise: float, habit: float = 0.0) -> Verdict:
    """Judge the log *ratios* of B over A.

    Up to *noise* A comes from itself. *habit* is what it differs from itself on average.
    """
    if len(ratios) < FEWEST_TRIALS:
        return Verdict.UNDECIDED
    mean, error = fmean(ratios), _standard_error(ratios)
    one_sided, two_sided = (
        t_quantile(len(ratios) - 1, probability) * error for probability in (LEVEL, (1 + LEVEL) / 2)
    )
    if abs(mean) + one_sided + habit <= math.log(EQUIVALENT):
        return Verdict.EQUIVALENT
    if abs(mean) <= max(noise, two_sided):
        return Verdict.UNDECIDED
    return Verdict.FASTER if mean > 0 else Verdict.SLOWER


def _p_value(ratios: Sequence[float]) -> float:
    """Return the two-sided p of Student's test that the log *ratios* are 0 on average."""
    if len(ratios) < FEWEST_TRIALS:
        return 1.0
    error = _standard_error(ratios)
    if not error:
        return float(fmean(ratios) == 0)
    return 2 * float(stdtr(len(ratios) - 1, -abs(fmean(ratios)) / error))


def _estimate(logarithms: Sequence[float]) -> Estimate:
    """Return the geometric mean, with its interval if there are enough trials."""
    mean, trials = fmean(logarithms), len(logarithms)
    if trials < FEWEST_TRIALS:
        return Estimate(math.exp(mean), None, None, trials)
    margin = t_quantile(trials - 1, (1 + LEVEL) / 2) * _standard_error(logarithms)
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
