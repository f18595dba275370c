"""How throughput grows with nodes: the Universal Scalability Law, the processors' ceiling, and what limits.

N. J. Gunther, "A General Theory of Computational Scalability Based on Rational Functions" (2008).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from harness.statistics import LEVEL, Estimate, check_throughputs, t_quantile
from lab.errors import Code, InvalidRequest

Floats = NDArray[np.float64]

PARAMETERS = 3
ZERO = 1e-12
"""A fitted parameter below this is the rounding of 0."""
NEAR_LIMIT = 0.9
"""A limit is reached by an interval that lies above nine tenths of it, and not by one that lies below."""


@dataclass(frozen=True, slots=True)
class Usl:
    """X(N) = gamma N / (1 + alpha (N - 1) + beta N (N - 1)), fitted to trials.

    *gamma* is the throughput of one node, *alpha* the share of the work that is done one after the other
    (contention), *beta* what nodes cost each other (coherence). Where the law turns says nothing of where the
    system does: a full machine bends the curve, too.
    """

    gamma: Estimate
    alpha: Estimate
    beta: Estimate


def fit_usl(nodes: Sequence[int], throughputs: Sequence[float]) -> Usl:
    """Fit the law to trials, one number of *nodes* and one throughput each, by bounded least squares.

    Intervals (95 %) come from the covariance at the fit and Student's t, and are cut at the bounds 0 <= alpha
    <= 1 and 0 <= beta. There are none without more than three trials. Of three or five trials each at 1 to 8
    nodes, whose noise is a factor, they hold the true alpha and beta in 93 of 100 experiments or more.
    """
    _check_trials(nodes, throughputs)
    unit = max(throughputs)
    counts = np.array(nodes, dtype=np.float64)
    targets = np.array(throughputs, dtype=np.float64) / unit

    def residuals(parameters: Floats) -> Floats:
        return _law(parameters, counts) - targets

    def slopes(parameters: Floats) -> Floats:
        return _slopes(parameters, counts)

    start = [float(np.max(targets / counts)), 0.01, 0.001]
    bounds = ([ZERO, 0.0, 0.0], [math.inf, 1.0, math.inf])
    fit = least_squares(
        residuals, start, slopes, bounds, method="dogbox", x_scale="jac", xtol=1e-12, ftol=1e-12
    )
    margins = _margins(slopes(fit.x), residuals(fit.x))
    gamma, alpha, beta = (
        _bounded(float(value), margin, most, factor, len(nodes))
        for value, margin, most, factor in zip(
            fit.x, margins, (math.inf, 1.0, math.inf), (unit, 1.0, 1.0), strict=True
        )
    )
    return Usl(gamma, alpha, beta)


def cpu_ceiling(nodes: int, throughput_at_one: float, cpu_seconds_per_request: float, cores: int) -> float:
    """Return the speedup that the processors allow: min(N, cores / (X1 x CPU-seconds per request)).

    The CPU-seconds are those of all components of the machine, the load generator and the broker included.
    """
    check_throughputs("throughput_at_one", [throughput_at_one])
    cpu_seconds = cpu_seconds_per_request
    if nodes < 1 or cores < 1 or not (math.isfinite(cpu_seconds) and cpu_seconds >= 0):
        message = (
            f"nodes: {nodes}, cores: {cores}, CPU-seconds: {cpu_seconds}; at least 1, 1 and 0 are needed"
        )
        raise InvalidRequest(Code.MALFORMED, message)
    busy_cores_at_one = throughput_at_one * cpu_seconds
    return min(float(nodes), cores / busy_cores_at_one) if busy_cores_at_one else float(nodes)


def limit_sentence(
    speedups: Mapping[int, Estimate], ceilings: Mapping[int, float], usl: Usl | None, cores: int
) -> str:
    """Say in a sentence what the data support: the speedup, what limits it, and where it falls.

    *speedups* and *ceilings* (of :func:`cpu_ceiling`) are by number of nodes; a ceiling that is missing is
    taken not to limit. The speedup at the most nodes is judged, or the highest one if it is shown to fall
    after that.
    """
    measured = sorted(nodes for nodes in speedups if nodes > 1)
    if not measured:
        return "Only one node was measured, which says nothing about scaling."
    most = measured[-1]
    best = max(measured, key=lambda nodes: speedups[nodes].value)
    falls = _is_below(speedups[most], speedups[best].low)
    judged = best if falls else most
    speedup = speedups[judged]
    clauses = [
        f"{_figures(speedup)} at {judged} nodes: {_limit(judged, speedup, ceilings.get(judged), usl, cores)}"
    ]
    if falls:
        clauses.append(f"more nodes make less of it: {_figures(speedups[most])} at {most}")
    return "; ".join(clauses) + "."


def _limit(nodes: int, speedup: Estimate, ceiling: float | None, usl: Usl | None, cores: int) -> str:
    """Name the limit of *speedup* at *nodes*, if its interval shows one."""
    if speedup.low is None or speedup.high is None:
        return "too few trials to say what limits it"
    if speedup.low > nodes:
        return "more than linear, so doubt the measurement at one node"
    if speedup.low >= NEAR_LIMIT * nodes:
        is_within = speedup.high >= nodes
        spread = "repetitions" if speedup.is_range else "interval"
        return f"linear within the {spread}" if is_within else f"{speedup.value / nodes:.0%} of linear"
    limit = min(ceiling or nodes, nodes)
    processors = "the only core" if cores == 1 else f"the {cores} cores"
    if limit < nodes and speedup.low >= NEAR_LIMIT * limit:
        return f"limited by {processors} of this machine, which allow {limit:.2f}"
    if speedup.high >= NEAR_LIMIT * limit:
        spread = "repetitions differ too much" if speedup.is_range else "interval is too wide"
        return f"the {spread} to say what limits it"
    if limit < nodes:
        return f"limited by something else before {processors} of this machine, which allow {limit:.2f}"
    if usl is not None and usl.alpha.low:
        return f"limited by contention, {usl.alpha.value:.1%} of the work being done one after the other"
    return "less than linear, the data do not say why"


def _is_below(estimate: Estimate, bound: float | None) -> bool:
    return estimate.high is not None and bound is not None and estimate.high < bound


def _figures(speedup: Estimate) -> str:
    if speedup.low is None:
        return f"{speedup.value:.2f} times"
    of = f" in {speedup.trials} repetitions" if speedup.is_range else ""
    return f"{speedup.value:.2f} times ({speedup.low:.2f} to {speedup.high:.2f}{of})"


def _law(parameters: Floats, nodes: Floats) -> Floats:
    gamma, alpha, beta = parameters
    law: Floats = gamma * nodes / (1 + alpha * (nodes - 1) + beta * nodes * (nodes - 1))
    return law


def _slopes(parameters: Floats, nodes: Floats) -> Floats:
    """Return the derivatives of the law by gamma, alpha and beta, a row for each of *nodes*."""
    law = _law(parameters, nodes)
    per_gamma = law / parameters[0]
    per_alpha = -law * per_gamma * (nodes - 1) / nodes
    return np.stack([per_gamma, per_alpha, per_alpha * nodes], axis=1)


def _margins(slopes: Floats, residuals: Floats) -> list[float | None]:
    """Return half the width of each parameter's interval."""
    degrees = len(residuals) - PARAMETERS
    if degrees < 1:
        return [None] * PARAMETERS
    covariance = np.linalg.pinv(slopes.T @ slopes) * float(residuals @ residuals) / degrees
    return [float(width) for width in t_quantile(degrees, (1 + LEVEL) / 2) * np.sqrt(np.diag(covariance))]


def _bounded(value: float, margin: float | None, most: float, factor: float, trials: int) -> Estimate:
    """Return an estimate in units of *factor*, its interval cut at 0 and *most*."""
    value = value if value > ZERO else 0.0
    if margin is None:
        return Estimate(factor * value, None, None, trials)
    low, high = max(0.0, value - margin), min(most, value + margin)
    return Estimate(factor * value, factor * low, factor * high, trials)


def _check_trials(nodes: Sequence[int], throughputs: Sequence[float]) -> None:
    check_throughputs("throughputs", throughputs)
    if len(nodes) != len(throughputs) or min(nodes) < 1:
        message = f"nodes: one number, 1 or more, for each of {len(throughputs)} throughputs is needed"
        raise InvalidRequest(Code.MALFORMED, message)
    if len(set(nodes)) < PARAMETERS:
        message = f"nodes: {len(set(nodes))} different numbers; the law needs {PARAMETERS} or more"
        raise InvalidRequest(Code.MALFORMED, message)
