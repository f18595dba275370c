"""Capacity: the highest rate that a system sustains, and how response times grow on the way there."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from harness.analysis.verdicts import LATE_MS, LEAST_ACHIEVED, client_bound
from harness.experiment.bench import Bench
from harness.experiment.side import Side, start_systems
from harness.load.generator import PIPELINED
from harness.load.measure import Generators
from harness.record.measurement import Measurement, samples_needed
from harness.record.run import MOST_CLIENTS, Capacity, Point
from lab.contract import Application
from lab.load.plans import Plan
from lab.middleware import Promise
from lab.process.system import System

CALLERS, MOST_CALLERS = 32, 512
"""At first, and at most. There must be enough of them to have the whole rate under way."""
WINDOWS = 3
"""At each rate, unless the first two agree. The majority counts."""
PRECISION = 0.05
MOST_BACKLOG_GROWTH = 0.01
"""Of the rate: what the backlog's slope must not be shown to exceed."""
SHARES = (0.10, 0.25, 0.50, 0.75, 0.90, 1.00, 1.05)
"""Of the capacity, for the sweep."""
LEAST_RATE, MOST_RATE = 20.0, 1_000_000.0


@dataclass(frozen=True, slots=True)
class Objective:
    """What a rate must meet to be sustained, and how long it is watched."""

    p99_ms: float = 50.0
    window_seconds: float = 4.0

    def seconds_for(self, rate: float) -> float:
        """Return how long *rate* is watched: long enough for a 99th percentile, too."""
        return max(self.window_seconds, 1.1 * samples_needed(0.99) / rate)


def capacity(bench: Bench, side: Side, objective: Objective) -> Iterator[Point | Capacity]:
    """Search the capacity of *side*; then measure at 10-105 % of it, on the same system.

    Its clients, and what they keep in flight, are as many as that takes, whatever *side* says.
    """
    with ExitStack() as stack:
        system = start_systems(bench, [side], stack)[0]
        callers = stack.enter_context(Callers(bench, side, system))
        guess = callers.load.closed(objective.window_seconds / 2).throughput or LEAST_RATE
        seeds = iter(range(bench.workload.seed, bench.workload.seed + 1000))
        bound: list[str] = []

        def attempt(rate: float) -> Measurement:
            measured = callers.open(rate, objective, seeds)
            bound[:] = bound or client_bound(measured, processes=callers.load.processes)
            return measured

        found = search(attempt, objective, guess / 2)
        yield _described(found, system, callers.load, objective, bound)
        conditions = side.conditions(bench)
        for share in SHARES if found.low else ():
            rate = share * found.low
            plan = Plan.poisson(rate, objective.seconds_for(rate), next(seeds))
            make = partial(Generators.open, plan=plan)
            yield bench.point("sweep", system, callers.load, make, **conditions)


class CallerBound(Exception):
    """All callers were busy, and there can be no more of them: it was not the system that was measured."""


class Callers:
    """As many callers as a rate takes. Those of indirect middlewares do not wait for each answer.

    A context manager; :attr:`load` are the load generators of now.
    """

    def __init__(self, bench: Bench, side: Side, system: System) -> None:
        self._bench, self._side, self._system, self._stack = bench, side, system, ExitStack()
        self._most = MOST_CALLERS if side.described.promises(Promise.MANY_CLIENTS) else MOST_CLIENTS
        self._depth = 1
        if not side.described.is_direct:
            self._most = CALLERS
            self._depth = 1 if side.application is Application.SERVICE else PIPELINED
        self.load: Generators

    def __enter__(self) -> "Callers":
        self._start(CALLERS)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def open(self, rate: float, objective: Objective, seeds: Iterator[int]) -> Measurement:
        """Measure a window of *rate*, with more callers if they were the limit; else CallerBound."""
        while True:
            measured = self.load.open(Plan.poisson(rate, objective.seconds_for(rate), next(seeds)))
            in_flight = self.load.clients * self.load.in_flight
            if not is_caller_bound(measured, in_flight, objective):
                return measured
            if self.load.clients >= self._most:
                raise CallerBound(f"caller-bound: {self.load.clients} callers")
            self._start(min(4 * self.load.clients, self._most))

    def _start(self, callers: int) -> None:
        self._stack.close()
        side = replace(self._side, clients=callers, in_flight=self._depth)
        self.load = self._stack.enter_context(side.load(self._bench, self._system))


def is_caller_bound(measured: Measurement, callers: int, objective: Objective) -> bool:
    """Tell whether all of *callers* were busy over 1 % of the time though the system kept its objective.

    Arrivals are Poisson, so the share of requests that found no free caller is that part of the time. Where
    so many requests at once take longer than the objective allows (Little's law), it is the system that is
    slow, and more callers would not help.
    """
    busy_ms = measured.late_p99_ms
    if busy_ms is None or busy_ms <= LATE_MS or not measured.throughput:
        return False
    return 1000 * callers / measured.throughput <= objective.p99_ms


@dataclass(frozen=True, slots=True)
class Found:
    """The interval in which the capacity lies, and how it was found. *high* None: no rate failed."""

    low: float
    high: float | None
    tried: list[list[object]]
    objections: list[str] = field(default_factory=list)


def search(attempt: Callable[[float], Measurement], objective: Objective, first: float) -> Found:
    """Double the rate until it is not sustained, bisect, and say where the chance of success is a half.

    Each rate is tried three times, unless the first two agree. The interval holds 95 % of what a logistic
    curve through all windows allows.
    """
    tried: list[list[object]] = []

    def is_sustained(rate: float, *, is_last: bool = False) -> bool:
        kept = 0
        for number in range(1, WINDOWS + 1):
            why = failure(attempt(rate), rate, objective)
            tried.append([round(rate, 1), not why, why])
            kept += not why
            if number == 2 and kept != 1 and not is_last:
                break
        return kept >= 2

    try:
        low, high = bracket(is_sustained, min(max(first, LEAST_RATE), MOST_RATE))
        if high is None:
            return Found(low, None, tried)
        while high - low > PRECISION * high and high > LEAST_RATE:
            middle = math.sqrt(low * high) if low else high / 2
            low, high = (middle, high) if is_sustained(middle) else (low, middle)
        if not low:
            return Found(0.0, high, tried)
        for rate in ((1 - PRECISION) * low, low, math.sqrt(low * high), high):
            is_sustained(rate, is_last=True)
    except CallerBound as error:
        kept = [float(str(rate)) for rate, is_kept, _ in tried if is_kept]
        return Found(max(kept, default=0.0), None, tried, [str(error)])
    return Found(*half_chance([(float(str(rate)), bool(kept)) for rate, kept, _ in tried]), tried)


def bracket(is_sustained: Callable[[float], bool], rate: float) -> tuple[float, float | None]:
    """Return a rate that is sustained and one twice as high that is not; 0 and None: there is none."""
    if is_sustained(rate):
        while rate <= MOST_RATE:
            if not is_sustained(2 * rate):
                return rate, 2 * rate
            rate *= 2
        return rate, None
    while rate > LEAST_RATE:
        if is_sustained(rate / 2):
            return rate / 2, rate
        rate /= 2
    return 0.0, rate


STEEPEST, FLATTEST = 0.003, 0.15
"""Over what logarithm of the rate the chance of success falls from 73 to 27 %, at least and at most."""
SHOWN = 0.95
SHORT = 0.97
"""A window begins with an empty queue: a rate that half of them keep is too high for days by so much."""


def half_chance(tried: Sequence[tuple[float, bool]]) -> tuple[float, float]:
    """Return the interval of the rate that is sustained with a chance of a half, from windows at many rates.

    The chance is a logistic curve of the logarithm of the rate. Where it is steep or flat, and where its
    middle is, are weighed by how well they explain the windows; the interval holds 95 % of the weight. Its
    lower end is moved down for windows being short.
    """
    rates = np.log([rate for rate, _ in tried])
    signs = np.array([1.0 if kept else -1.0 for _, kept in tried])
    middles = np.linspace(rates.min() - FLATTEST, rates.max() + FLATTEST, 2001)
    weight = np.zeros_like(middles)
    for width in np.geomspace(STEEPEST, FLATTEST, 25):
        fits = signs[:, None] * (middles[None, :] - rates[:, None]) / width
        weight += np.exp(-np.logaddexp(0.0, -fits).sum(axis=0))
    share = weight.cumsum() / weight.sum()
    low, high = np.interp([(1 - SHOWN) / 2, (1 + SHOWN) / 2], share, middles)
    return SHORT * math.exp(low), math.exp(high)


def highest(is_sustained: Callable[[float], bool], first: float, precision: float) -> tuple[float, float]:
    """Return the highest rate that *is_sustained* and the lowest that is not, from one window a rate.

    0: none of those tried is.
    """
    low, high = bracket(is_sustained, min(max(first, LEAST_RATE), MOST_RATE))
    while low and high and high - low > precision * high:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if is_sustained(middle) else (low, middle)
    return low, high or 2 * low


def failure(measured: Measurement, rate: float, objective: Objective) -> str:
    """Return why *rate* was not sustained; nothing if it was."""
    if not measured.is_whole:
        return "requests were lost, refused or answered wrongly"
    if (measured.achieved_share or 0.0) < LEAST_ACHIEVED:
        return f"{measured.achieved_share or 0:.1%} of the rate was achieved"
    p99 = measured.response_ms.get("p99")
    if p99 is None:
        return "too few requests for a 99th percentile"
    _, p99 = measured.response_interval_ms.get("p99", (p99, p99))  # a rate must be shown to be sustained
    if p99 > objective.p99_ms:
        return f"p99 may be {p99:.1f} ms, above {objective.p99_ms:g} ms"
    growth = backlog_growth(measured)
    if growth > MOST_BACKLOG_GROWTH * rate:
        return f"the backlog grows by {growth:.0f}/s or more"
    return ""


RESAMPLES, BLOCK = 500, 4


def backlog_growth(measured: Measurement) -> float:
    """Return the lower 95 % bound of the backlog's slope, in requests per second, by a block bootstrap.

    A queue has a memory: what is left of a straight line is drawn again in blocks of neighbours. The last
    twentieth is left out: there the plan ends and the backlog is worked off.
    """
    backlog = np.array(measured.backlog[:-1], dtype=np.float64)
    count = len(backlog)
    times = np.arange(count) * (measured.seconds / len(measured.backlog))
    times = times - times.mean()
    size = float(times @ times)
    slope = float(times @ backlog) / size
    residuals = backlog - backlog.mean() - slope * times
    starts = np.random.default_rng(1).integers(0, count - BLOCK + 1, (RESAMPLES, -(-count // BLOCK)))
    places = (starts[:, :, None] + np.arange(BLOCK)).reshape(RESAMPLES, -1)[:, :count]
    drawn = slope + residuals[places] @ times / size
    return float(np.quantile(drawn, 0.05))


def _described(
    found: Found, system: System, load: Generators, objective: Objective, objections: list[str]
) -> Capacity:
    return Capacity(
        system.spec.middleware,
        system.spec.architecture,
        len(system.nodes),
        load.clients,
        objective.p99_ms,
        found.low,
        found.high,
        found.tried,
        [*found.objections, *objections],
    )


BOUNDED = Objective(p99_ms=1000.0)
"""A backlog that keeps most texts waiting for longer than this is none that anybody wants."""
PROBE_SHARE, COARSE, FINALS = 0.25, 0.10, 4
"""A rate is searched with shorter windows. The last one is as long as asked, at lower rates if need be."""
MOST_SUBMITTERS = 128


def accepted_to_completed(bench: Bench, side: Side, system: System, seconds: float) -> Point:
    """Submit texts at the highest rate whose backlog is bounded; each is done when its result is seen.

    The clients of *side* submit at first, and more of them if that helps. Readers look for the results.
    """
    seeds = itertools.count(bench.workload.seed)
    probe = replace(BOUNDED, window_seconds=PROBE_SHARE * seconds)
    late: dict[float, bool] = {}
    with ExitStack() as stack:
        load = stack.enter_context(side.load(bench, system))

        def is_bounded(rate: float) -> bool:
            measured = load.open(Plan.poisson(rate, probe.seconds_for(rate), next(seeds)))
            late[rate] = (measured.late_p99_ms or 0.0) > LATE_MS
            return not failure(measured, rate, probe)

        rate = load.closed(probe.window_seconds).throughput or LEAST_RATE
        rate, failed = highest(is_bounded, rate, COARSE)
        while late.get(failed) and load.clients < MOST_SUBMITTERS:
            more = replace(side, clients=4 * load.clients)
            before, load = load, stack.enter_context(more.load(bench, system))
            if not is_bounded(failed):  # it is the system that is slow, and not that they are few
                load = before
                break
            rate, failed = highest(is_bounded, failed, COARSE)
        return _settled(bench, system, load, rate, replace(BOUNDED, window_seconds=seconds), seeds)


def _settled(
    bench: Bench, system: System, load: Generators, rate: float, objective: Objective, seeds: Iterator[int]
) -> Point:
    """Measure at *rate*, or at a lower one at which the whole window is valid and its backlog bounded."""
    for lower in range(FINALS):
        offered = max(LEAST_RATE, rate * (1 - COARSE) ** lower)
        plan = Plan.poisson(offered, objective.seconds_for(offered), next(seeds))
        point = bench.point("accepted", system, load, partial(Generators.open, plan=plan))
        why = failure(point.measurement, offered, objective)
        if not why and point.is_valid:
            break
    unbounded = [f"the backlog is not bounded: {why}"] if why and point.is_valid else []
    return replace(point, objections=[*point.objections, *unbounded])
