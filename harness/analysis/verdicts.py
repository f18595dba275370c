"""What a run shows: speedups, comparisons, and the sentences that its valid points support."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import cast

from harness.analysis.scalability import Usl, cpu_ceiling, fit_usl, limit_sentence
from harness.analysis.statistics import Comparison, Estimate, compare, speedup_estimate
from harness.analysis.validity import SHORTEST_SECONDS
from harness.record.run import Point, Run
from harness.report.scaling_words import scaled, scaling_caveats
from harness.report.words import capacity, milliseconds, system_name
from lab.contract import Architecture
from lab.middlewares import MIDDLEWARES

FEWEST_TRIALS = 5
"""Below this, intervals are said to be indicative."""
FEWEST_COUNTS_FOR_USL = 4
FEWEST_BLOCKS = 3
CLEARLY = 1.2
"""One trial on one machine tells apart what differs by more than this, no less."""


@dataclass(frozen=True, slots=True)
class Speedup:
    """One middleware's speedup under one kind of work; by number of nodes, against the same with one."""

    middleware: str
    work: str
    estimates: dict[int, Estimate]
    ceilings: dict[int, float]
    throughputs: dict[int, list[float]]
    usl: Usl | None
    cores: int

    @property
    def sentence(self) -> str:
        """What limits it."""
        return limit_sentence(self.estimates, self.ceilings, self.usl, self.cores)


def speedups(run: Run) -> list[Speedup]:
    """Return the speedups that the valid points of *run* support."""
    cores = int(cast(int, run.environment.get("cores") or 1))
    valid = [point for point in run.of("speedup") if point.is_valid]
    kinds = sorted({(list(MIDDLEWARES).index(p.middleware), p.middleware, p.work) for p in valid})
    found = []
    for _, middleware, work in kinds:
        mine = [point for point in valid if point.middleware == middleware and point.work == work]
        by_nodes = {
            nodes: {point.block: point for point in mine if point.nodes == nodes}
            for nodes in sorted({point.nodes for point in mine})
        }
        if 1 in by_nodes:
            found.append(_speedup(middleware, work, by_nodes, cores))
    return found


def comparison_of(run: Run) -> Comparison | None:
    """Return the comparison of a "compare" run; None with fewer than three whole and valid blocks."""
    blocks: dict[int, dict[str, Point]] = {}
    for point in run.of("compare"):
        blocks.setdefault(point.block, {})[point.setting.partition(":")[0]] = point
    whole = [
        block for block in blocks.values() if len(block) == 3 and all(p.is_valid for p in block.values())
    ]
    if len(whole) < FEWEST_BLOCKS:
        return None
    a, b, again = ([block[turn].throughput for block in whole] for turn in ("A", "B", "A again"))
    return compare(a, b, again)


def sentence(comparison: Comparison, a: str, b: str) -> str:
    """Say what a comparison of B with A shows."""
    ratio = comparison.ratio
    interval = f" (95 % interval {ratio.low:.3f} to {ratio.high:.3f})" if ratio.low and ratio.high else ""
    effect = f"; effect size {comparison.effect_size:.1f}" if comparison.effect_size is not None else ""
    return (
        f"{b} against {a}: {comparison.verdict}. Throughput ratio {ratio.value:.3f}{interval}, noise floor "
        f"{comparison.noise_ratio:.3f} (A against itself), {ratio.trials} blocks{effect}."
    )


def conclusions(run: Run) -> list[str]:
    """Return in plain words what the valid points of *run* support."""
    return [*_fastest(run), *_scaling(run), *_capacities(run), *_compared(run), *scaled(run)]


def caveats(run: Run) -> list[str]:
    """Return what must be known before a figure of *run* is used."""
    found = [*run.notes, *scaling_caveats(run)]
    blocks = {point.block for point in run.of("speedup")}
    if blocks and len(blocks) < FEWEST_TRIALS:
        is_short = run.configuration.get("form") == "quick"
        how = "blocks on systems that stayed up in between" if is_short else "trials"
        found.append(
            f"Speedup intervals are indicative: {len(blocks)} {how}. `lab speedup` makes {FEWEST_TRIALS} "
            "trials with fresh processes."
        )
    if run.of("requests"):
        found.append(
            "Throughput and response times under stress are of one trial: they tell orders of magnitude."
        )
    invalid = [point for point in run.points if not point.is_valid and not is_start_of_ramp(point)]
    if invalid:
        found.append(
            f"{len(invalid)} of {len(run.points)} windows are marked invalid, in red, and left out of "
            "conclusions; the table of all windows says why."
        )
    kinds = {MIDDLEWARES[point.middleware].is_direct for point in run.points}
    if len(kinds) == 2:
        found.append(
            "The direct middlewares (XML-RPC, Pyro4) keep nothing on the way; the indirect ones (Redis, "
            "RabbitMQ) store every text before it is worked on. That is what most of the difference buys."
        )
    if float(cast(float, run.environment.get("load_before") or 0.0)) > 0.5 * int(
        cast(int, run.environment.get("cores") or 1)
    ):
        found.append("The machine was busy before the run began: measure again when it is idle.")
    return found


def is_start_of_ramp(point: Point) -> bool:
    """Tell whether *point* is too short by design: a ramp begins with few requests."""
    return point.experiment == "requests" and point.measurement.seconds < SHORTEST_SECONDS


def best_points(run: Run, experiment: str) -> Iterator[Point]:
    """Yield the last valid point of each system, the one with the most requests."""
    for middleware in MIDDLEWARES:
        for architecture in Architecture:
            valid = [
                point
                for point in run.of(experiment, middleware=middleware, architecture=architecture)
                if point.is_valid
            ]
            if valid:
                yield valid[-1]


def _speedup(middleware: str, work: str, by_nodes: dict[int, dict[int, Point]], cores: int) -> Speedup:
    base = by_nodes[1]
    estimates, throughputs, ceilings = {}, {}, {}
    x1 = median(point.throughput for point in base.values())
    cpu_seconds = median(sum(point.cpu_ms.values()) / 1000 for point in base.values())
    for nodes, points in by_nodes.items():
        paired = [block for block in points if block in base]
        throughputs[nodes] = [point.throughput for point in points.values()]
        ceilings[nodes] = cpu_ceiling(nodes, x1, cpu_seconds, cores)
        if paired:
            estimates[nodes] = speedup_estimate(
                [points[block].throughput for block in paired], [base[block].throughput for block in paired]
            )
    trials = [(nodes, value) for nodes, values in throughputs.items() for value in values]
    enough = len(throughputs) >= FEWEST_COUNTS_FOR_USL
    usl = fit_usl(*map(list, zip(*trials, strict=True))) if enough else None
    return Speedup(middleware, work, estimates, ceilings, throughputs, usl, cores)


def _fastest(run: Run) -> Iterator[str]:
    whats = {
        "requests": "one request in flight per client",
        "pipelined": "many requests in flight per client",
        "accepted": "texts submitted and found in the result list",
    }
    for experiment, what in whats.items():
        ranked = sorted(best_points(run, experiment), key=lambda point: -point.throughput)
        if len(ranked) < 2:
            continue
        first = ranked[0]
        near = [p for p in ranked[1:] if first.throughput < CLEARLY * p.throughput]
        names = " and ".join(system_name(point.middleware, point.architecture) for point in [first, *near])
        last = ranked[-1]
        p99 = milliseconds(first.measurement.response_ms.get("p99"))
        yield (
            f"With {what}, {names} {'were' if near else 'was'} fastest: {first.throughput:,.0f} requests/s, "
            f"p99 {p99} ms; {system_name(last.middleware, last.architecture)} made {last.throughput:,.0f}/s."
        )


def _scaling(run: Run) -> Iterator[str]:
    for found in speedups(run):
        yield f"{MIDDLEWARES[found.middleware].label}, {found.work} per text: {found.sentence}"


def _capacities(run: Run) -> Iterator[str]:
    for found in run.capacities:
        if found.objections:
            continue
        name = system_name(found.middleware, found.architecture)
        yield f"{name} sustains {capacity(found)} with p99 within {found.objective_ms:g} ms."


def _compared(run: Run) -> Iterator[str]:
    comparison = comparison_of(run) if run.of("compare") else None
    if comparison:
        settings = run.configuration
        yield sentence(comparison, str(settings.get("a", "A")), str(settings.get("b", "B")))
