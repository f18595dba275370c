"""What a run shows in sentences: conclusions that its valid points support, and what limits them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from harness.analysis.verdicts import (
    Factor,
    Speedup,
    best_points,
    disk_factors,
    factors,
    guarantee_of,
    is_start_of_ramp,
    speedups,
)
from harness.record.run import MOST_CLIENTS, Guarantee, Point, Run, is_refusal
from harness.report.anatomy import profile_caveats
from harness.report.faults import sentences, variant_name
from harness.report.formatting import busy, capacity, milliseconds, nodes, rounded, system_name, times
from harness.report.scaling import scaled, scaling_caveats
from harness.statistics import Comparison, Verdict, repeated
from lab.contract import Architecture
from lab.middleware import MIDDLEWARES, STOCK, TUNED, Promise

NEEDS = {
    "requests": "If a caller waits for each answer",
    "pipelined": "If requests come in bursts (many under way at once)",
    "accepted": "If work is handed over and done later",
}
"""By study: which need it is measured for."""
CLEARLY = 1.2
"""Systems that were started once are told apart if they differ by more than this, no less."""
SYSTEMS, FACTORS, SPEEDUP, CAPACITY, SCALING, FOUND, FAULTS, WINDOWS = (
    "throughput-and-response-time",
    "tuned-over-stock",
    "speedup",
    "capacity",
    "dynamic-scaling",
    "what-was-found",
    "faults",
    "all-windows",
)
"""Parts of the report."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A sentence that valid measurements of the run support, and the part of the report that shows them."""

    text: str
    evidence: str


def sentence(comparison: Comparison, a: str, b: str) -> str:
    """Say what a comparison of B with A shows."""
    ratio = comparison.ratio
    interval = f" (95 % interval {ratio.low:.3f} to {ratio.high:.3f})" if ratio.low and ratio.high else ""
    effect = f"; effect size {comparison.effect_size:.1f}" if comparison.effect_size is not None else ""
    return (
        f"{b} against {a}: {comparison.verdict}. Throughput ratio {ratio.value:.3f}{interval}, noise floor "
        f"{comparison.noise_ratio:.3f} (A against itself), {ratio.trials} blocks{effect}."
    )


def answers(run: Run) -> list[Answer]:
    """Answer which middleware, as far as the valid pairs of *run* do."""
    parts = (
        (SYSTEMS, _kept(run)),
        (SYSTEMS, _fastest(run)),
        (SPEEDUP, _scaling(run)),
        (WINDOWS, _over_nodes(run)),
        (SYSTEMS, _odd(run)),
        (CAPACITY, _capacities(run)),
        (SCALING, iter(scaled(run))),
        (FACTORS, _tuning(run)),
        (SYSTEMS, _disk(run)),
        (FOUND, _compared(run)),
        (FAULTS, sentences(run.faults)),
    )
    return [Answer(text, evidence) for evidence, texts in parts for text in texts]


def heading(run: Run) -> str:
    """Return the question that *run* answers: that of its file, or of what it measured."""
    if question := run.configuration.get("question"):
        return str(question)
    if run.points:
        return "Which middleware?"
    asked = {"What do faults do?": run.faults, "Which scaling policy?": run.scalings}
    return next((one for one, there in asked.items() if there), f"What does {run.experiment} show?")


def conclusions(run: Run) -> list[str]:
    """Return in plain words what the valid points of *run* support."""
    return [answer.text for answer in answers(run)]


def caveats(run: Run) -> list[str]:
    """Return what must be known before a figure of *run* is used."""
    found = [*run.notes, *scaling_caveats(run)]
    found += [said for profile in run.profiles for said in profile_caveats(profile)]
    if run.environment.get("is_dirty"):
        what = f"commit {commit}" if (commit := run.environment.get("commit")) else "its last commit"
        found.append(f"CAUTION: changes were not committed: what was measured is more than {what}.")
    blocks = {point.block for point in run.of("speedup") if not point.is_trial}
    if blocks:
        found.append(
            f"Speedups are of {len(blocks)} repetitions on processes that stayed up. They show a range and "
            "no interval: `lab speedup` makes trials with fresh processes."
        )
    if run.of("requests"):
        found.append(
            "Rates and response times under stress are of processes that were started once: differences "
            f"under {CLEARLY - 1:.0%} are noise. The factors are of variants that were measured side by side."
        )
    invalid = [point for point in run.points if not point.is_valid and not is_start_of_ramp(point)]
    if invalid:
        found.append(
            f"{len(invalid)} of {len(run.points)} windows are marked invalid, in red, and left out of "
            "conclusions; the table of all windows says why."
        )
    if len({guarantee_of(run, point) for point in run.points}) > 1:
        found.append(
            "Only systems that keep the same of an accepted request are ranked against each other: nothing, "
            "or all of it before it is worked on."
            + ("" if any(_disk(run)) else " What that costs is not measured here.")
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


KEPT = {
    Guarantee.NOTHING: "nothing kept",
    Guarantee.MEMORY: "kept in the broker's memory",
    Guarantee.DISK: "kept on disk",
}


def _kept(run: Run) -> Iterator[str]:
    """Say which was fastest of the systems that promise it and keep work on the disk."""
    for experiment in ("accepted", "requests"):
        safe = [
            point
            for point in best_points(run, experiment)
            if guarantee_of(run, point) is Guarantee.DISK and _survives(point)
        ]
        if len(safe) > 1:
            need = NEEDS[experiment].removeprefix("If ")
            yield (
                f"If accepted work must survive a crash, and {need}: {_ranking(_by_rate(safe))}. "
                "Counted are systems that promise it, keep work on disk, and keep results outside the node."
            )
            return


def _survives(point: Point) -> bool:
    """Tell whether work and its result outlive the node: one node keeps results in memory, but of Redis."""
    found = MIDDLEWARES[point.middleware]
    is_outside = point.architecture == Architecture.N_NODE or found.broker == "redis"
    return is_outside and found.promises(Promise.SURVIVES_KILLED_NODE)


def _fastest(run: Run) -> Iterator[str]:
    for experiment, need in NEEDS.items():
        found: dict[Guarantee, dict[str, list[Point]]] = {}
        for point in _by_rate(best_points(run, experiment)):
            by_variant = found.setdefault(guarantee_of(run, point), {STOCK: [], TUNED: []})
            by_variant[MIDDLEWARES[point.middleware].variant].append(point)
        for kept, by_variant in found.items():
            said = [
                f"the {variant} systems, {_ranking(ranked)}"
                for variant, ranked in by_variant.items()
                if len(ranked) > 1
            ]
            if said:
                yield f"{need}, {KEPT[kept]}: of {'. Of '.join(said)}."


def _by_rate(points: Iterable[Point]) -> list[Point]:
    return sorted(points, key=lambda point: -point.throughput)


def _ranking(ranked: Sequence[Point]) -> str:
    """Say which made most, with all that cannot be told from it, and which made least."""
    first, last = ranked[0], ranked[-1]
    near = [point for point in ranked[1:] if first.throughput < CLEARLY * point.throughput]
    p99 = milliseconds(first.measurement.response_ms.get("p99"))
    others = "".join(f" and {_rate(point)}" for point in near)
    said = f"fastest: {_rate(first)} (p99 {p99} ms){others}{', no difference told' if near else ''}"
    return said if last in near else f"{said}; slowest: {_rate(last)}"


def _rate(point: Point) -> str:
    return f"{variant_name(point.middleware)}, {nodes(point.nodes)} {rounded(point.throughput)}/s"


def _odd(run: Run) -> Iterator[str]:
    """Explain where the reader stumbles: three nodes that make less than one."""
    slower = []
    found = {
        (p.middleware, guarantee_of(run, p), p.architecture): p
        for p in best_points(run, "requests")
        if not p.work
    }
    for (name, kept, architecture), alone in found.items():
        several = found.get((name, kept, str(Architecture.N_NODE)))
        if architecture == Architecture.N_NODE or not several:
            continue
        if several.throughput * CLEARLY < alone.throughput:
            busy_share = several.usage.busy_share
            cores = f" (cores {busy_share:.0%} busy)" if busy_share else ""
            slower.append(
                f"{variant_name(name)} {rounded(several.throughput)}/s with {nodes(several.nodes)}{cores}, "
                f"{rounded(alone.throughput)}/s with {nodes(alone.nodes)} ({kept})"
            )
    if slower:
        yield (
            f"More nodes made less: {'; '.join(slower)}. These texts declare no work. What more "
            "nodes do for texts that take time stands under Speedup."
        )


def _tuning(run: Run) -> Iterator[str]:
    for experiment, need in NEEDS.items():
        yield from _factor_words(
            factors(run, experiment),
            f"What tuning brings {need.replace('If', 'if')}",
            "tuned made so many times the rate of stock",
            "tuned and stock",
        )


def _disk(run: Run) -> Iterator[str]:
    for experiment, need in NEEDS.items():
        yield from _factor_words(
            disk_factors(run, experiment),
            f"What the disk costs {need.replace('If', 'if')}",
            "with nothing kept, a system made so many times its rate on disk",
            "with and without the disk",
        )


def _factor_words(found: Iterable[Factor], need: str, differ: str, sides: str) -> Iterator[str]:
    """Say which factors are shown to differ from 1, and which to be 1; of the others, that they are not."""
    by_verdict: dict[Verdict, list[Factor]] = {}
    for one in found:
        shown = Verdict.FASTER if one.shows is Verdict.SLOWER else one.shows
        by_verdict.setdefault(shown, []).append(one)
    endings = {
        Verdict.FASTER: differ,
        Verdict.EQUIVALENT: f"{sides} made the same within 5 %",
        Verdict.UNDECIDED: f"{sides} were not told apart",
    }
    for verdict, said in endings.items():
        some = [one for one in by_verdict.get(verdict, []) if one.estimate.low is not None]
        if some:
            each = "; ".join(
                f"{variant_name(one.middleware).removesuffix(' tuned')}, {one.architecture}"
                f"{f', {one.guarantee}' * bool(one.guarantee)} {times(one.estimate)}"
                for one in some
            )
            blocks = min(one.estimate.trials for one in some)
            yield f"{need}: {said}: {each} (lowest and highest of {blocks} repetitions)."


def _scaling(run: Run) -> Iterator[str]:
    found = speedups(run)
    for work in dict.fromkeys(one.work for one in found):
        mine = [one for one in found if one.work == work]
        compared = [one for one in mine if all(rate.low is not None for rate in one.rates.values())]
        said = list(_nearest_ideal(work, compared)) if len(compared) > 1 else []
        yield from said
        for one in mine:
            if not said or one not in compared:
                name = variant_name(one.middleware)
                yield f"If nodes will be added, {work} per text, {name}: {one.sentence}"


def _over_nodes(run: Run) -> Iterator[str]:
    """Tell as measured what more nodes made, where nothing was expected of it and no ideal is known."""
    judged = {one.row for one in run.findings}
    found: dict[tuple[str, str], dict[int, dict[int, float]]] = {}
    for point in run.points:
        has_ideal = point.experiment == "speedup" and point.work
        if "nodes" in point.factors and point.is_valid and point.experiment not in judged and not has_ideal:
            rest = [f", {k} {v}" for k, v in point.factors.items() if k not in ("middleware", "nodes")]
            key = (point.middleware, "".join(rest))
            found.setdefault(key, {}).setdefault(point.nodes, {})[point.block] = point.throughput
    for (middleware, rest_said), by_nodes in found.items():
        (fewest, base), *others = sorted(by_nodes.items())
        each = [f"{nodes(fewest)} {rounded(median(base.values()))}/s"]
        for count, rates in others:
            shared = [block for block in rates if block in base]
            if shared:
                ratio = repeated([rates[block] for block in shared], [base[block] for block in shared])
                rate = rounded(median(rates.values()))
                each.append(f"{nodes(count)} {rate}/s, {times(ratio)} in {ratio.trials} blocks")
        if len(each) > 1:
            yield f"{variant_name(middleware)}{rest_said}, as measured: {'; '.join(each)}."


def _nearest_ideal(work: str, found: Sequence[Speedup]) -> Iterator[str]:
    """Say who makes most of the most nodes that all have; a difference within their spread is none."""
    most = max(set.intersection(*(set(one.rates) for one in found)))
    if most == 1:
        return
    shares = {variant_name(one.middleware): one.share_of_ideal(most) for one in found}
    ordered = sorted(shares.items(), key=lambda item: -item[1].value)
    best, worst = ordered[0][1], ordered[-1][1]
    near = [name for name, one in ordered if (one.high or 0.0) >= (best.low or 0.0)]
    said = f"If nodes will be added, {work} per text: at {nodes(most)} "
    ideal = f"the work's ideal, {most} x {found[0].ideal:,.4g}/s"
    if len(near) == len(ordered):
        shares_said = f"{worst.value:.0%} to {best.value:.0%}"
        yield f"{said}{' and '.join(near)} were not told apart: {shares_said} of {ideal}."
    else:
        yield (
            f"{said}{' and '.join(near)} came nearest {ideal}: {best.value:.0%} of it; "
            f"{ordered[-1][0]} made {worst.value:.0%}."
        )


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
