"""What the valid points of a run show: speedups, comparisons, the best point of each system."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import cast

from harness.analysis.scalability import Usl, cpu_ceiling, fit_usl, limit_sentence
from harness.analysis.validity import SHORTEST_SECONDS
from harness.record.run import Point, Run
from harness.statistics import Comparison, Estimate, compare, speedup_estimate
from lab.contract import Architecture
from lab.middleware import MIDDLEWARES

FEWEST_TRIALS = 5
"""Below this, intervals are called indicative."""
FEWEST_COUNTS_FOR_USL = 4
FEWEST_BLOCKS = 3


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
