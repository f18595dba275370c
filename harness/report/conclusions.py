"""What a run shows in sentences: conclusions that its valid points support, and what limits them."""

from collections.abc import Iterator

from harness.analysis.verdicts import FEWEST_TRIALS, best_points, comparison_of, is_start_of_ramp, speedups
from harness.record.run import Run
from harness.report.anatomy import profile_caveats
from harness.report.formatting import busy, capacity, milliseconds, system_name
from harness.report.scaling import scaled, scaling_caveats
from harness.statistics import Comparison
from lab.middleware import MIDDLEWARES

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
    return [*_fastest(run), *_scaling(run), *_capacities(run), *_compared(run), *scaled(run)]


def caveats(run: Run) -> list[str]:
    """Return what must be known before a figure of *run* is used."""
    found = [*run.notes, *scaling_caveats(run)]
    found += [said for profile in run.profiles for said in profile_caveats(profile)]
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
    if busy(run):
        found.append(busy(run))
    return found


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
