"""What a run shows in sentences: conclusions that its valid points support, and what limits them."""

from collections.abc import Iterator, Sequence
from typing import cast

from harness.analysis.verdicts import (
    FEWEST_TRIALS,
    best_points,
    factors,
    is_start_of_ramp,
    speedups,
)
from harness.record.run import MOST_CLIENTS, Point, Run, is_refusal
from harness.report.anatomy import profile_caveats
from harness.report.faults import variant_name
from harness.report.formatting import busy, capacity, milliseconds, system_name, times
from harness.report.scaling import scaled, scaling_caveats
from harness.statistics import Comparison
from lab.contract import Architecture
from lab.middleware import MIDDLEWARES, STOCK, TUNED

LOADS = {
    "requests": "one request in flight per client",
    "pipelined": "many requests in flight per client",
    "accepted": "texts submitted for background work",
}
CLEARLY = 1.2
"""One trial on one machine tells apart what differs by more than this, no less."""


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
    return [*_fastest(run), *_tuning(run), *_scaling(run), *_capacities(run), *_compared(run), *scaled(run)]


def caveats(run: Run) -> list[str]:
    """Return what must be known before a figure of *run* is used."""
    found = [*run.notes, *scaling_caveats(run)]
    found += [said for profile in run.profiles for said in profile_caveats(profile)]
    repeated = {point.block for point in run.of("speedup") if not point.is_trial}
    if repeated:
        found.append(
            f"Speedups are of {len(repeated)} repetitions on processes that stayed up. They show a range and "
            f"no interval: `lab speedup` makes {FEWEST_TRIALS} trials with fresh processes."
        )
    if run.of("requests"):
        found.append(
            "Throughput and response times under stress are of processes that were started once: they tell "
            "orders of magnitude. The factors are of variants that were measured side by side."
        )
    invalid = [point for point in run.points if not point.is_valid and not is_start_of_ramp(point)]
    if invalid:
        found.append(
            f"{len(invalid)} of {len(run.points)} windows are marked invalid, in red, and left out of "
            "conclusions; the table of all windows says why."
        )
    if len({guarantee(run, point) for point in run.points}) > 1:
        found.append(
            "Only systems that keep the same are ranked against each other. XML-RPC and Pyro4 keep nothing "
            "of a call. Redis and RabbitMQ keep every text before it is worked on. What that costs is not "
            "measured here."
        )
    for point in filter(is_refusal, run.points):
        name = system_name(point.middleware, point.architecture)
        found.append(
            f"{name} does not promise to serve more than {MOST_CLIENTS} clients at once. With "
            f"{point.clients * point.in_flight} requests in flight: {'; '.join(point.objections)}."
        )
    if busy(run):
        found.append(busy(run))
    return found


def guarantee(run: Run, point: Point) -> str:
    """Return what is kept of a request that was accepted, and where."""
    middleware = MIDDLEWARES[point.middleware]
    has_work_list = point.experiment == "accepted" and point.architecture == Architecture.N_NODE
    if middleware.is_direct and not has_work_list:
        return "nothing kept"
    broker = middleware.broker or "redis"
    said = [str(one) for one in cast(list[object], run.environment.get("brokers") or [])]
    is_weak = any(one.startswith(broker) and "WEAK" in one for one in said)
    return "kept in the broker's memory" if is_weak else "kept on disk"


def _fastest(run: Run) -> Iterator[str]:
    for experiment, load in LOADS.items():
        found: dict[str, dict[str, list[Point]]] = {}
        for point in sorted(best_points(run, experiment), key=lambda point: -point.throughput):
            by_variant = found.setdefault(guarantee(run, point), {STOCK: [], TUNED: []})
            by_variant[MIDDLEWARES[point.middleware].variant].append(point)
        for kept, by_variant in found.items():
            said = [
                f"of the {variant} systems, {_ranking(ranked)}"
                for variant, ranked in by_variant.items()
                if len(ranked) > 1
            ]
            if said:
                yield f"With {load} and {kept}: {'; '.join(said)}."


def _ranking(ranked: Sequence[Point]) -> str:
    first, last = ranked[0], ranked[-1]
    near = [point for point in ranked[1:] if first.throughput < CLEARLY * point.throughput]
    names = " and ".join(system_name(point.middleware, point.architecture) for point in [first, *near])
    p99 = milliseconds(first.measurement.response_ms.get("p99"))
    said = f"{names} {'were' if near else 'was'} fastest: {first.throughput:,.0f} requests/s, p99 {p99} ms"
    if last in near:
        return said
    return f"{said}, and {system_name(last.middleware, last.architecture)} made {last.throughput:,.0f}/s"


def _tuning(run: Run) -> Iterator[str]:
    for experiment, load in LOADS.items():
        found = [factor for factor in factors(run, experiment) if factor.estimate.low is not None]
        if found:
            each = "; ".join(
                f"{MIDDLEWARES[one.middleware].label}, {one.architecture} {times(one.estimate)}"
                for one in found
            )
            blocks = min(one.estimate.trials for one in found)
            yield (
                f"With {load}, tuned made so many times the rate of stock: {each} (lowest and highest of "
                f"{blocks} repetitions)."
            )


def _scaling(run: Run) -> Iterator[str]:
    for found in speedups(run):
        yield f"{variant_name(found.middleware)}, {found.work} per text: {found.sentence}"


def _capacities(run: Run) -> Iterator[str]:
    for found in run.capacities:
        if found.objections:
            continue
        name = system_name(found.middleware, found.architecture)
        yield f"{name} sustains {capacity(found)} with p99 within {found.objective_ms:g} ms."


def _compared(run: Run) -> Iterator[str]:
    for finding in run.findings:
        if finding.comparison and not finding.change:
            yield sentence(finding.comparison, *finding.rates)
