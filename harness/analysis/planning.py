"""Planning past the machine that measured: nodes, brokers and what limits them at a rate that was never sent.

docs/planning.md tells the model and its limits. What the data do not support is refused in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from harness.analysis.scalability import PARAMETERS, Usl, fit_usl
from harness.analysis.verdicts import is_at_limit
from harness.record.run import Point, Run
from harness.statistics import LEVEL, Estimate, t_quantile, throughput_estimate
from lab.errors import Code, InvalidRequest

FARTHEST = 2
"""Nodes behind one broker are predicted up to so many times the largest number that was measured."""
BUSY = 0.8
"""Of its cores, what a broker, a store or a master is planned with."""
REGULAR, USUAL, RANDOM = 0.5, 0.75, 1.0
"""Variability of service times, (1 + cv squared) / 2: all alike, in between, exponential."""
SHARED_CORES = {"redis": 1, "master": 1}
"""On how many cores a shared component can work; others, RabbitMQ, on all of their machine's."""
NOT_SHARED = ("node", "generator")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """Throughput over nodes as the Universal Scalability Law has it, and how far that can be trusted."""

    usl: Usl
    most_nodes: int
    covariance: Floats
    """Of log gamma, alpha and beta."""
    variance: float
    """Of the logarithm of one trial around the law."""
    degrees: int

    def at(self, nodes: int) -> Estimate:
        """Return the throughput of a trial with *nodes*, with the interval in which 95 of 100 would lie."""
        low, high = self._around(nodes)
        most = nodes * self._around(1)[1]  # more than linear it is not: alpha and beta are not below 0
        return Estimate(self._law(nodes), low, min(high, most), self.degrees + PARAMETERS)

    @property
    def farthest(self) -> int:
        """The most nodes for which a prediction is made."""
        return FARTHEST * self.most_nodes

    def _law(self, nodes: int) -> float:
        return self.usl.gamma.value * nodes / _denominator(self.usl, nodes)

    def _around(self, nodes: int) -> tuple[float, float]:
        row = _log_slopes(self.usl, [nodes])[0]
        variance = float(row @ self.covariance @ row) + self.variance
        margin = t_quantile(self.degrees, (1 + LEVEL) / 2) * math.sqrt(variance)
        return self._law(nodes) * math.exp(-margin), self._law(nodes) * math.exp(margin)


@dataclass(frozen=True, slots=True)
class Limit:
    """Where a component that all nodes share has no more to give."""

    component: str
    cores: int
    cpu_ms: Estimate
    """Per request."""
    rate: float
    """Requests per second at which it spends ``BUSY`` of its cores, at the most that a request may cost."""


@dataclass(frozen=True, slots=True)
class Range:
    """At least, about, at most. *about* and *most* are None where the data do not reach."""

    least: int
    about: int | None
    most: int | None


@dataclass(slots=True)
class Plan:
    """What a middleware needs under one kind of work; *refusals* say what the data cannot tell."""

    middleware: str
    work: str
    source: str
    one_node: Estimate | None = None
    usl: Usl | None = None
    busy: tuple[float, float, float] | None = None
    """How busy nodes may be within the objective: with random, usual and regular service times."""
    nodes: Range | None = None
    brokers: Range | None = None
    """Each with its share of the nodes: what to shard is the first of *limits*."""
    limits: list[Limit] = field(default_factory=list)
    cores: float | None = None
    """In all, for nodes and what they share, without load generators."""
    refusals: list[str] = field(default_factory=list)


def plan(run: Run, source: str, middleware: str, work: str, rate: float, objective_ms: float) -> Plan:
    """Plan *middleware* under *work* for *rate* requests per second, p99 within *objective_ms*."""
    made = Plan(middleware, work, source)
    cores = int(cast(int, run.environment.get("cores") or 1))
    points = usable(run, middleware, work, made.refusals)
    if "computing" not in work:
        made.refusals.append(
            f"no CPU-bound data, so no plan for texts that compute; `lab speedup {middleware} "
            "--work-cpu 2ms` measures them"
        )
    if not points:
        return made
    _cost(made, points, cores, rate)
    try:
        curve = fit_curve([p.nodes for p in points], [p.throughput for p in points])
    except InvalidRequest as error:
        made.refusals.append(f"no prediction of nodes: {error.message}")
        return made
    made.usl, made.one_node = curve.usl, curve.at(1)
    _nodes(made, curve, rate, objective_ms)
    return made


def usable(run: Run, middleware: str, work: str, refusals: list[str]) -> list[Point]:
    """Return the valid points of a speedup in which the machine was not the limit; say what is left out."""
    cores = int(cast(int, run.environment.get("cores") or 1))
    points = [p for p in run.of("speedup", middleware=middleware, work=work) if p.is_valid]
    if not points:
        refusals.append("no valid trial of it was measured")
    bound = {p.nodes for p in points if is_at_limit(p, cores)}
    if bound:
        refusals.append(
            f"from {min(bound)} node(s) on the {cores} core(s) of the machine that measured were the limit: "
            "these trials are left out, as they tell nothing of the middleware"
        )
    return [p for p in points if not bound or p.nodes < min(bound)]


def fit_curve(nodes: Sequence[int], throughputs: Sequence[float]) -> Curve:
    """Fit the law to trials; InvalidRequest if they are too few to say how far it can be trusted."""
    degrees = len(nodes) - PARAMETERS
    if degrees < 1:
        raise InvalidRequest(Code.MALFORMED, f"{len(nodes)} trials are too few for an interval")
    usl = fit_usl(nodes, throughputs)
    rows = _log_slopes(usl, nodes)
    law = np.array([usl.gamma.value * n / _denominator(usl, n) for n in nodes])
    residuals = np.log(np.array(throughputs) / law)
    variance = float(residuals @ residuals) / degrees
    slopes = law[:, None] * rows
    # The fit weighs all trials alike, but noise is a factor: the covariance is that of this estimator.
    bread = np.linalg.pinv(slopes.T @ slopes)
    weighed = slopes * law[:, None]
    return Curve(usl, max(nodes), variance * bread @ (weighed.T @ weighed) @ bread, variance, degrees)


def busy_share(service_ms: float, objective_ms: float, variability: float) -> float:
    """Return how busy a node may be for the p99 to keep the objective; 0 if not even an idle one does.

    Requests arrive at random and wait in line. The wait of those that wait is taken to be exponential with
    mean service x variability / (1 - busy); 1 % of all wait longer than ln(100 busy) times that (Pollaczek
    and Khinchine; exact for exponential service times).
    """
    low, high = 0.0, 1.0
    for _ in range(50):
        busy = (low + high) / 2
        mean_ms = service_ms * variability / (1 - busy)
        kept = service_ms + mean_ms * max(0.0, math.log(max(1e-9, 100 * busy))) <= objective_ms
        low, high = (busy, high) if kept else (low, busy)
    return low


def _nodes(made: Plan, curve: Curve, rate: float, objective_ms: float) -> None:
    service_ms = 1000 / curve.at(1).value
    random, usual, regular = (busy_share(service_ms, objective_ms, v) for v in (RANDOM, USUAL, REGULAR))
    if not random:
        made.refusals.append(
            f"the objective cannot be kept: an idle node takes {service_ms:.1f} ms, and {objective_ms:g} ms "
            "are allowed"
        )
        return
    made.busy = (random, usual, regular)
    predicted = {n: curve.at(n) for n in range(1, curve.farthest + 1)}

    def first(values: dict[int, float]) -> int | None:
        return next((n for n, value in values.items() if value >= rate), None)

    least = first({n: regular * (x.high or 0.0) for n, x in predicted.items()})
    about = first({n: usual * x.value for n, x in predicted.items()})
    most = first({n: random * (x.low or 0.0) for n, x in predicted.items()})
    by_cpu = max([math.ceil(rate / limit.rate) for limit in made.limits[:1]], default=1)
    if most is not None:
        made.nodes = Range(least or most, about, most)
        made.brokers = Range(by_cpu, by_cpu, by_cpu)
        return
    _cells(made, curve, rate, by_cpu, about)


def _cells(made: Plan, curve: Curve, rate: float, by_cpu: int, about: int | None) -> None:
    """Plan with what was measured, side by side: brokers with as many nodes each as were measured."""
    random, _, regular = made.busy or (0.0, 0.0, 0.0)
    most = curve.most_nodes
    each, alone = curve.at(most), curve.at(1)
    cells = math.ceil(rate / (random * (each.low or 0.0)))
    least = math.ceil(rate / (regular * (alone.high or math.inf)))
    made.nodes = Range(least, about, cells * most)
    made.brokers = Range(by_cpu, None if about is None else by_cpu, max(cells, by_cpu))
    made.refusals.append(
        f"{rate:,.0f}/s behind one broker may need more than {curve.farthest} nodes, {FARTHEST} times the "
        f"{most} that were measured: no such prediction. At most: brokers of their own for each {most} nodes"
    )


def _cost(made: Plan, points: Sequence[Point], cores: int, rate: float) -> None:
    """Say what a request costs each component, where the most nodes were measured."""
    most = max(p.nodes for p in points)
    there = [p.cpu_ms for p in points if p.nodes == most]
    spent = {name: [cpu.get(name, 0.0) for cpu in there] for name in there[0]}
    for name, values in spent.items():
        if min(values) > 0 and name not in NOT_SHARED:
            cost = throughput_estimate(values)
            own = SHARED_CORES.get(name, cores)
            made.limits.append(Limit(name, own, cost, 1000 * BUSY * own / (cost.high or max(values))))
    made.limits.sort(key=lambda limit: limit.rate)
    missing = [name for name, values in spent.items() if min(values) <= 0]
    if missing or not made.limits:
        what = ", ".join(missing) or "a broker or a store"
        made.refusals.append(f"no CPU time was measured for {what}, so its limit is not known")
    if "node" in spent and not missing:
        totals = sum(float(np.median(values)) for name, values in spent.items() if name != "generator")
        made.cores = rate * totals / 1000


def _denominator(usl: Usl, nodes: float) -> float:
    return 1 + (usl.alpha.value + usl.beta.value * nodes) * (nodes - 1)


def _log_slopes(usl: Usl, nodes: Sequence[int]) -> Floats:
    """Return the derivatives of log X by log gamma, alpha and beta, a row for each of *nodes*."""
    rows = [(1.0, -(n - 1) / _denominator(usl, n), -n * (n - 1) / _denominator(usl, n)) for n in nodes]
    return np.array(rows, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class PredictionCheck:
    """A prediction for *nodes* from trials with up to *known* nodes, and what was measured there."""

    middleware: str
    work: str
    known: int
    nodes: int
    predicted: Estimate
    measured: Estimate
    is_held: bool
    """The measured throughput lies in the interval of the prediction."""


def check(run: Run) -> list[PredictionCheck]:
    """Predict the most nodes of each speedup of *run*; InvalidRequest says why none can be checked."""
    checked: list[PredictionCheck] = []
    refusals: list[str] = []
    for middleware, work in dict.fromkeys((p.middleware, p.work) for p in run.of("speedup")):
        points = usable(run, middleware, work, refusals)
        most = max((p.nodes for p in points), default=0)
        near = [p for p in points if p.nodes <= most / FARTHEST]
        there = [p.throughput for p in points if p.nodes == most]
        try:
            curve = fit_curve([p.nodes for p in near], [p.throughput for p in near])
        except InvalidRequest as error:
            refusals.append(f"{middleware}, {work}: {error.message}")
            continue
        predicted, seen = curve.at(most), throughput_estimate(there)
        is_held = (predicted.low or 0.0) <= seen.value <= (predicted.high or 0.0)
        checked.append(PredictionCheck(middleware, work, curve.most_nodes, most, predicted, seen, is_held))
    if not checked:
        why = "; ".join(refusals) or "it has no speedup"
        raise InvalidRequest(
            Code.MALFORMED, f"nothing to check: {why}; `lab speedup M --nodes 1,2,3,4,8` measures what is"
        )
    return checked
