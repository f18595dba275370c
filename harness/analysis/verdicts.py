"""What may be concluded: why a window is invalid, speedups, comparisons, the best point of each system."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import cast

from harness.analysis.scalability import Usl, cpu_ceiling, fit_usl, limit_sentence
from harness.record.measurement import Measurement, Usage
from harness.record.run import Guarantee, Point, Run, usual_guarantee
from harness.statistics import (
    EQUIVALENT,
    FEWEST_TRIALS,
    Estimate,
    Verdict,
    is_stationary,
    repeated,
    speedup_estimate,
    throughput_estimate,
)
from lab.contract import Architecture
from lab.middleware import MIDDLEWARES, STOCK, VARIANTS
from lab.options import duration

SHORTEST_SECONDS = 0.7
FEWEST_REQUESTS = 100
"""Of which one more or less is a percent. Percentiles that need more are not shown."""
MOST_GENERATOR_CPU = 0.8
"""Of a core, for each load generator process: above, it may be the generator that is measured."""
LEAST_HEADROOM = 2.0
LATE_MS, LATE_SHARE = 1.0, 0.05
LEAST_ACHIEVED = 0.99
"""Of the planned rate. With less, the system does not keep up, and all clients wait for it: sending late is
then no fault of theirs, and the response times say so."""
MOST_BUSY = 0.95
"""Of all cores: above, the load generators are the limit if nothing else spends more."""
MOST_STEAL = 0.02
LITTLE = 0.05
"""By how much the requests under way may differ from what was to be kept under way."""


def client_bound(
    measured: Measurement, *, processes: int, null_rate: float = 0.0, usage: Usage | None = None
) -> list[str]:
    """Return in words why the load generators, and not the system, may have been the limit."""
    found = []
    share = measured.generator_cpu_seconds / max(measured.seconds, 1e-9) / processes
    if share > MOST_GENERATOR_CPU:
        found.append(f"client-bound: each load generator used {share:.0%} of a core")
    rate = measured.throughput or 0.0
    if null_rate and null_rate < LEAST_HEADROOM * rate:
        found.append(f"client-bound: the load generators alone make {null_rate:,.0f}/s, less than twice this")
    most = max(usage.cpu_seconds.values(), default=0.0) if usage else 0.0
    if usage and not found and usage.busy_share > MOST_BUSY and measured.generator_cpu_seconds > most:
        found.append("client-bound: all cores were busy, and the load generators took most of them")
    return found


def objections(
    measured: Measurement,
    *,
    processes: int,
    null_rate: float = 0.0,
    in_flight: int = 0,
    usage: Usage | None = None,
) -> list[str]:
    """Return in words what is wrong with *measured*; nothing if it can be relied on.

    *processes* load generators made it; against a middleware that takes no time they make *null_rate*
    requests per second (0: not measured). *in_flight* requests were to be kept under way (0: a plan says).
    """
    if not (measured.made and measured.is_whole):
        return [_losses(measured)]
    found = []
    if measured.out_of_range:
        found.append(f"{measured.out_of_range} response times were under 1 us or over 60 s")
    if measured.seconds < SHORTEST_SECONDS or measured.done < FEWEST_REQUESTS:
        found.append(f"too short: {measured.done:,} requests in {measured.seconds:.2f} s")
    found += client_bound(measured, processes=processes, null_rate=null_rate, usage=usage)
    if usage and usage.steal_share > MOST_STEAL:
        found.append(f"steal time: other guests of this hardware had {usage.steal_share:.1%} of its cores")
    late, p99 = measured.late_p99_ms, measured.response_ms.get("p99")
    keeps_up = (measured.achieved_share or 0.0) >= LEAST_ACHIEVED
    if keeps_up and late is not None and late > max(LATE_MS, LATE_SHARE * (p99 or 0.0)):
        found.append(f"sent late: the 99th percentile of the delay before sending is {late:.1f} ms")
    if in_flight and not found and abs(measured.under_way - in_flight) > LITTLE * in_flight:
        found.append(
            f"Little's law: {measured.under_way:.3g} requests were under way on average, not {in_flight}"
        )
    if not found and not is_stationary(measured.slices):
        found.append("not stationary: the throughput changed within the window")
    return found


def _losses(measured: Measurement) -> str:
    parts = {
        "lost": measured.lost,
        "answered wrongly": measured.wrong,
        "answered twice": measured.duplicates,
        **{f"refused with {code}": count for code, count in measured.failed.items()},
    }
    said = ", ".join(f"{count:,} {what}" for what, count in parts.items() if count)
    return f"of {measured.made:,} requests {said}" if said else "no request was made"


IN_PAIRS = tuple(name for usual in MIDDLEWARES for name in (f"{usual}:{STOCK}", usual) if name in VARIANTS)
"""All variants as tables and plots have them: stock, and the tuned one beside it."""
FEWEST_COUNTS_FOR_USL = 4
MACHINE_LIMIT = 0.9
"""Of all cores: from there on throughput bends because the machine is full."""


@dataclass(frozen=True, slots=True)
class Speedup:
    """One middleware's speedup under one kind of work; by number of nodes, against the same with one."""

    middleware: str
    work: str
    estimates: dict[int, Estimate]
    ceilings: dict[int, float]
    rates: dict[int, Estimate]
    """Requests per second."""
    usl: Usl | None
    """Fitted to the trials with fewer nodes than :attr:`full_from`."""
    cores: int
    full_from: int | None = None
    """The fewest nodes with which the processors were at their limit; None: they never were."""

    @property
    def sentence(self) -> str:
        """What limits it, and how it compares with what the declared work allows."""
        said = limit_sentence(self.estimates, self.ceilings, self.usl, self.cores).removesuffix(".")
        most = max(self.estimates)
        said += f"; {self.share_of_ideal(most).value:.0%} of {most} x {self.ideal:,.4g}/s, the work's ideal"
        if self.full_from:
            nodes = "1 node" if self.full_from == 1 else f"{self.full_from} nodes"
            said += f"; from {nodes} on the machine was full"
        return f"{said}."

    @property
    def ideal(self) -> float:
        """Requests per second of a node that does nothing but the declared work."""
        return 1 / duration(self.work.split()[0])

    def share_of_ideal(self, nodes: int, unit: float = 1.0) -> Estimate:
        """Return which part of the ideal *nodes* nodes made, as 0 to *unit*."""
        rate, factor = self.rates[nodes], unit / (nodes * self.ideal)
        low, high = (None if end is None else factor * end for end in (rate.low, rate.high))
        return Estimate(factor * rate.value, low, high, rate.trials, rate.is_range)


def speedups(run: Run) -> list[Speedup]:
    """Return the speedups that the valid points of *run* support."""
    cores = int(cast(int, run.environment.get("cores") or 1))
    valid = [point for point in run.of("speedup") if point.is_valid and point.work]
    kinds = {
        (place, name, p.work) for p in valid for place, name in enumerate(IN_PAIRS) if name == p.middleware
    }
    found = []
    for _, middleware, work in sorted(kinds):
        mine = [point for point in valid if point.middleware == middleware and point.work == work]
        by_nodes = {
            nodes: {point.block: point for point in mine if point.nodes == nodes}
            for nodes in sorted({point.nodes for point in mine})
        }
        if 1 in by_nodes:
            found.append(_speedup(middleware, work, by_nodes, cores))
    return found


def is_at_limit(point: Point, cores: int) -> bool:
    """Tell whether the processors had no more to give: it is the machine that was measured then."""
    spent = point.throughput * sum(point.cpu_ms.values()) / 1000
    return max(spent / cores, point.usage.busy_share) > MACHINE_LIMIT


def is_start_of_ramp(point: Point) -> bool:
    """Tell whether *point* is too short by design: a ramp begins with few requests."""
    return point.experiment == "requests" and point.measurement.seconds < SHORTEST_SECONDS


def guarantee_of(run: Run, point: Point) -> Guarantee:
    """Return what is kept of a request that was accepted, and where."""
    if point.guarantee:
        return Guarantee(point.guarantee)
    has_work_list = point.experiment == "accepted" and point.architecture == Architecture.N_NODE
    brokers = cast(list[str], run.environment.get("brokers") or [])
    return usual_guarantee(MIDDLEWARES[point.middleware], brokers, is_stored=has_work_list)


def place(run: Run, point: Point) -> tuple[int, int, int]:
    """Return where tables and plots have a system: by its middleware, its architecture, and what it keeps."""
    return (
        IN_PAIRS.index(point.middleware),
        list(Architecture).index(Architecture(point.architecture)),
        list(Guarantee).index(guarantee_of(run, point)),
    )


def shown_points(run: Run, experiment: str) -> Iterator[Point]:
    """Yield what stands for each system at each guarantee: the median of its valid blocks, or its last point.

    It is valid if one of them is. Points of one guarantee are never mixed with those of another. Of several
    numbers of nodes it is the largest.
    """
    found: dict[tuple[int, int, int], list[Point]] = {}
    for point in run.of(experiment, batch=0):
        if point.middleware in IN_PAIRS:
            found.setdefault(place(run, point), []).append(point)
    for _, points in sorted(found.items()):
        most = max(point.nodes for point in points)
        points = [point for point in points if point.nodes == most]
        valid = [point for point in points if point.is_valid]
        blocks = sorted((point for point in valid if point.block), key=lambda point: point.throughput)
        yield blocks[(len(blocks) - 1) // 2] if blocks else (valid or points)[-1]


def best_points(run: Run, experiment: str) -> Iterator[Point]:
    """Yield those of :func:`shown_points` that are valid."""
    return (point for point in shown_points(run, experiment) if point.is_valid)


@dataclass(frozen=True, slots=True)
class Factor:
    """How many times the rate of one side the other made, under the same load in the same blocks.

    Both stay up between the blocks, so these are repetitions.
    """

    experiment: str
    middleware: str
    architecture: str
    estimate: Estimate
    guarantee: str = ""
    """What both sides keep, if both keep the same and the run varied it."""

    @property
    def shows(self) -> Verdict:
        """Say what all repetitions agree on: faster, slower, the same within 5 %; else undecided."""
        low, high = self.estimate.low, self.estimate.high
        if low is None or high is None or self.estimate.trials < FEWEST_TRIALS:
            return Verdict.UNDECIDED
        if low >= 1 / EQUIVALENT and high <= EQUIVALENT:
            return Verdict.EQUIVALENT
        return Verdict.FASTER if low > 1 else Verdict.SLOWER if high < 1 else Verdict.UNDECIDED


def factors(run: Run, experiment: str) -> Iterator[Factor]:
    """Yield how many times the rate of stock tuned made, of each middleware with valid pairs of both."""
    guarantees = dict.fromkeys(point.guarantee for point in run.of(experiment))
    for middleware, architecture, kept in product(MIDDLEWARES, Architecture, guarantees):
        found = _pairs(run, experiment, architecture, (middleware, kept), (f"{middleware}:{STOCK}", kept))
        if found:
            yield Factor(experiment, middleware, str(architecture), found, kept)


def disk_factors(run: Run, experiment: str) -> Iterator[Factor]:
    """Yield how many times the rate on disk a system made with nothing kept, where both were measured."""
    for middleware in IN_PAIRS:
        for architecture in Architecture:
            sides = ((middleware, kept) for kept in (Guarantee.NOTHING, Guarantee.DISK))
            found = _pairs(run, experiment, architecture, *sides)
            if found:
                yield Factor(experiment, middleware, str(architecture), found)


def _pairs(run: Run, experiment: str, architecture: Architecture, *sides: tuple[str, str]) -> Estimate | None:
    """Return the ratio of two sides, each a variant and what it keeps, from pairs of one block and load."""

    def load(point: Point) -> tuple[object, ...]:
        return point.block, point.nodes, point.work, point.clients, point.in_flight

    over, under = (
        {
            load(point): point.throughput
            for point in run.of(experiment, middleware=name, architecture=architecture, batch=0)
            if point.is_valid and point.block and point.guarantee == kept
        }
        for name, kept in sides
    )
    shared = [key for key in over if key in under]
    return repeated([over[key] for key in shared], [under[key] for key in shared]) if shared else None


def _speedup(middleware: str, work: str, by_nodes: dict[int, dict[int, Point]], cores: int) -> Speedup:
    base = by_nodes[1]
    estimates, rates, ceilings = {}, {}, {}
    x1 = median(point.throughput for point in base.values())
    cpu_seconds = median(sum(point.cpu_ms.values()) / 1000 for point in base.values())
    is_fresh = all(point.is_trial for point in base.values())
    ratio = speedup_estimate if is_fresh else repeated
    for nodes, points in by_nodes.items():
        paired = [block for block in points if block in base]
        made = [point.throughput for point in points.values()]
        rates[nodes] = throughput_estimate(made) if is_fresh else repeated(made, [1.0] * len(made))
        ceilings[nodes] = cpu_ceiling(nodes, x1, cpu_seconds, cores)
        if paired:
            estimates[nodes] = ratio(
                [points[block].throughput for block in paired], [base[block].throughput for block in paired]
            )
    all_points = [point for points in by_nodes.values() for point in points.values()]
    full_from = min((point.nodes for point in all_points if is_at_limit(point, cores)), default=None)
    fitted = [point for point in all_points if full_from is None or point.nodes < full_from]
    enough = len({point.nodes for point in fitted}) >= FEWEST_COUNTS_FOR_USL
    usl = fit_usl([p.nodes for p in fitted], [p.throughput for p in fitted]) if enough else None
    return Speedup(middleware, work, estimates, ceilings, rates, usl, cores, full_from)
