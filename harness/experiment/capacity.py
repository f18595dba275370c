"""Capacity: the highest rate that a system sustains, and how response times grow on the way there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from harness.analysis.verdicts import LEAST_ACHIEVED, client_bound
from harness.experiment.bench import Bench
from harness.load.measure import Generators
from harness.record.measurement import Measurement, samples_needed
from harness.record.run import Capacity, Point
from lab.contract import Architecture
from lab.load.plans import Plan
from lab.process.system import System

CLIENTS = 32
"""Clients block, so there must be enough of them to have the whole rate under way."""
PRECISION = 0.05
MOST_BACKLOG_GROWTH = 0.01
"""Of the rate, for the upper bound of the backlog's slope."""
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


def capacity(
    bench: Bench, middleware: str, architecture: Architecture, objective: Objective, *, sweep: bool = True
) -> Iterator[Point | Capacity]:
    """Search the capacity; then, with *sweep*, measure at 10-105 % of it, on the same system."""
    with bench.system(middleware, architecture) as system, bench.load(system, CLIENTS) as load:
        guess = load.closed(objective.window_seconds / 2).throughput or LEAST_RATE
        seeds = iter(range(bench.workload.seed, bench.workload.seed + 1000))

        bound: list[str] = []

        def attempt(rate: float) -> Measurement:
            measured = load.open(Plan.poisson(rate, objective.seconds_for(rate), next(seeds)))
            bound[:] = bound or client_bound(measured, processes=load.processes)
            return measured

        found = search(attempt, objective, guess / 2)
        yield _described(found, system, load, objective, bound)
        if sweep and found.low:
            for share in SHARES:
                rate = share * found.low
                plan = Plan.poisson(rate, objective.seconds_for(rate), next(seeds))
                yield bench.point("sweep", system, load, partial(Generators.open, plan=plan))


@dataclass(frozen=True, slots=True)
class Found:
    """The interval in which the capacity lies, and how it was found."""

    low: float
    high: float | None
    tried: list[list[object]]


def search(attempt: Callable[[float], Measurement], objective: Objective, first: float) -> Found:
    """Double the rate until it is not sustained, bisect to 5 %, verify the result once more.

    A rate that fails its verification is the new upper end, and the search goes on below it.
    """
    tried: list[list[object]] = []

    def is_sustained(rate: float) -> bool:
        why = failure(attempt(rate), rate, objective)
        tried.append([round(rate, 1), not why, why])
        return not why

    rate = min(max(first, LEAST_RATE), MOST_RATE)
    low, high = 0.0, None
    while high is None and rate <= MOST_RATE:
        if is_sustained(rate):
            low, rate = rate, 2 * rate
        else:
            high = rate
    if high is None:
        return Found(low, None, tried)
    while True:
        low, high = _bisect(is_sustained, low, high)
        if not low or is_sustained(low):
            return Found(low, high, tried)
        low, high = 0.0, low


def failure(measured: Measurement, rate: float, objective: Objective) -> str:
    """Return why *rate* was not sustained; nothing if it was."""
    if not measured.is_whole:
        return "requests were lost, refused or answered wrongly"
    if (measured.achieved_share or 0.0) < LEAST_ACHIEVED:
        return f"{measured.achieved_share or 0:.1%} of the rate was achieved"
    p99 = measured.response_ms.get("p99")
    if p99 is None:
        return "too few requests for a 99th percentile"
    if p99 > objective.p99_ms:
        return f"p99 {p99:.1f} ms is above {objective.p99_ms:g} ms"
    growth = backlog_growth(measured)
    if growth > MOST_BACKLOG_GROWTH * rate:
        return f"the backlog may grow by {growth:.0f}/s"
    return ""


def backlog_growth(measured: Measurement) -> float:
    """Return the upper 95 % bound of the backlog's slope, in requests per second.

    The last twentieth is left out: there the plan ends and the backlog is worked off.
    """
    from scipy import stats  # a second to import: --help need not wait for it

    backlog = measured.backlog[:-1]
    step = measured.seconds / len(measured.backlog)
    fit = stats.linregress([index * step for index in range(len(backlog))], backlog)
    return float(fit.slope + stats.t.ppf(0.95, len(backlog) - 2) * fit.stderr)


def _bisect(is_sustained: Callable[[float], bool], low: float, high: float) -> tuple[float, float]:
    while high - low > PRECISION * high and high > LEAST_RATE:
        middle = (low + high) / 2
        if is_sustained(middle):
            low = middle
        else:
            high = middle
    return low, high


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
        objections,
    )
