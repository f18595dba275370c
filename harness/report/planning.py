"""Plans in words: their assumptions, their cells, and what capacity searches add."""

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.analysis.planning import (
    BUSY,
    FARTHEST,
    SHARED_CORES,
    Limit,
    Plan,
    PredictionCheck,
    Range,
    usable,
)
from harness.analysis.scalability import PARAMETERS
from harness.analysis.verdicts import IN_PAIRS
from harness.record.journal import RESULTS, read_run
from harness.record.run import Capacity, Run
from harness.report.faults import variant_name
from harness.report.formatting import capacity, system_name
from harness.statistics import Estimate
from lab.contract import Architecture
from lab.errors import Code, InvalidRequest
from lab.middleware import MIDDLEWARES

ASSUMPTIONS = (
    "the same texts, work, guarantees, processors and versions as where it was measured, each node and each "
    "broker with the cores it needs, and a network that is never the limit;",
    "requests that arrive at random (Poisson), each node a line of its own, and clients spread evenly;",
    f"throughput over nodes follows the Universal Scalability Law, up to {FARTHEST} times as many as were "
    "measured; intervals hold 95 of 100 trials of the same machine, not of another;",
    "brokers or stores side by side share nothing: traffic, insults and subscribers are split evenly by "
    "the senders, and a set of insults that all must see is copied to each;",
    "a component's CPU time per request is what it was at the most nodes; what it spends while idle counts "
    "in, so that limits err to the safe side;",
    f"{' and '.join(SHARED_CORES)} work on one core, RabbitMQ on as many as were there, and are planned "
    f"{BUSY:.0%} busy; nothing is added for failures: plan one node and one broker more.",
)


def cell(found: Range | None) -> str:
    """Return "3, 4, 6"; "-" for what the data do not tell."""
    if found is None:
        return "-"
    values = (found.least, found.about, found.most)
    if len(set(values)) == 1:
        return f"{found.least:,}"
    return ", ".join("-" if value is None else f"{value:,}" for value in values)


def share_words(estimate: Estimate | None) -> str:
    """Return a throughput with its interval."""
    if estimate is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:,.0f}"
    return f"{estimate.value:,.0f} ({estimate.low:,.0f} to {estimate.high:,.0f})"


def limit_words(limits: Sequence[Limit]) -> str:
    """Return the component that comes to its end first, and where."""
    if not limits:
        return "-"
    first = limits[0]
    return (
        f"{first.component} at {first.rate:,.0f}/s ({first.cpu_ms.value:.3g} ms each, {first.cores} core(s))"
    )


def capacities(runs: Sequence[tuple[str, Run]], rate: float, objective_ms: float) -> list[str]:
    """Return what the best capacity search of each n-node system, without declared work, adds.

    A valid one comes before an invalid one, then one within the objective, then the newest.
    """
    said: dict[str, tuple[tuple[bool, bool], str]] = {}
    for source, run in runs:
        for one in run.capacities:
            name = system_name(one.middleware, one.architecture)
            worth = not one.objections and bool(one.low), one.objective_ms <= objective_ms
            if one.architecture == Architecture.N_NODE and (name not in said or worth > said[name][0]):
                said[name] = worth, _capacity_words(one, source, rate, objective_ms)
    found = [words for _, words in said.values()]
    missing = [one for one in MIDDLEWARES if system_name(one, Architecture.N_NODE) not in said]
    if missing:
        command = f"`lab stress M --study capacity --objective {objective_ms:g}ms`"
        found.append(f"not supported: {', '.join(missing)}: no search was made; {command} makes one")
    return found


def _capacity_words(one: Capacity, source: str, rate: float, objective_ms: float) -> str:
    name = system_name(one.middleware, one.architecture)
    said = f"{name}, {one.nodes} nodes: {capacity(one)} with p99 within {one.objective_ms:g} ms ({source})"
    if one.objections:
        return f"not supported: {name}: the search of {source} is invalid: {'; '.join(one.objections)}"
    if one.objective_ms > objective_ms:
        return f"not supported: {said}, which is more than is allowed"
    if not one.low:
        return f"not supported: {said}"
    return f"{said}: {math.ceil(rate / one.low):,} such system(s) side by side carry the rate"


Sources = dict[tuple[str, str], tuple[str, Run]]


def runs_from(origin: Path | None) -> list[tuple[str, Run]]:
    """Return the runs to plan from, the newest first; those of an older format are left out."""
    if origin:
        return [(str(origin), read_run(origin / "run.json"))]
    found = []
    for path in sorted(RESULTS.glob("*/run.json"), reverse=True):
        if path.parent.is_symlink():
            continue
        try:
            found.append((path.parent.name, read_run(path)))
        except InvalidRequest as error:
            print(f"left out: {error.message}", file=sys.stderr)
    return found


def best_speedups(runs: list[tuple[str, Run]]) -> Sources:
    """Return, by middleware and kind of work, the run whose valid trials tell most, and say which.

    One with enough numbers of nodes for a prediction comes first, then one with fresh processes, then more
    trials, then the newest. A short run on a busy machine replaces no careful one.
    """
    found: dict[tuple[str, str], list[tuple[tuple[int, ...], str, Run]]] = {}
    for source, run in runs:
        for kind in {(point.middleware, point.work): None for point in run.of("speedup")}:
            trials = usable(run, *kind, [])
            counts, fresh = len({one.nodes for one in trials}), sum(one.is_trial for one in trials)
            worth = (min(counts, PARAMETERS), fresh, len(trials))
            said = f"{source} ({len(trials)} valid windows, {fresh} of them trials with fresh processes)"
            found.setdefault(kind, []).append((worth, said, run))
    if not found:
        raise InvalidRequest(
            Code.MALFORMED, "no speedup is measured yet; `lab speedup redis_impl --nodes 1,2,3,4` makes one"
        )
    best: Sources = {}
    for kind in sorted(found, key=lambda kind: (IN_PAIRS.index(kind[0]), kind[1])):
        _, said, run = max(found[kind], key=lambda one: one[0])
        others = len(found[kind]) - 1
        best[kind] = f"{said}, the best of {others + 1} runs" if others else said, run
    return best


def print_plans(plans: list[Plan], known: list[str], rate: float, objective_ms: float) -> None:
    console = Console()
    title = f"Plan for {rate:,.0f} requests/s, p99 within {objective_ms:g} ms (at least, about, at most)"
    table = Table(title=title, title_justify="left")
    rows = [
        (
            f"{variant_name(one.middleware)}, {one.work}",
            share_words(one.one_node),
            cell(one.nodes),
            cell(one.brokers),
            limit_words(one.limits),
            "-" if one.cores is None else f"{one.cores:,.0f}",
        )
        for one in plans
    ]
    titles = ("middleware, work", "one node, /s", "nodes", "brokers", "first limit: shard it", "cores")
    shown = [place for place in range(len(titles)) if any(row[place] != "-" for row in rows)]
    for place in shown:
        table.add_column(titles[place])
    for row in rows:
        table.add_row(*(row[place] for place in shown))
    console.print(table)
    for sentence in _plan_sentences(plans, known):
        console.print(sentence, highlight=False, soft_wrap=True, markup=False)


def _plan_sentences(plans: list[Plan], known: list[str]) -> Iterator[str]:
    for one in plans:
        yield f"\n{variant_name(one.middleware)}, {one.work}, from {one.source}:"
        if one.usl and one.busy:
            yield (
                f"  contention {one.usl.alpha.value:.2%}, coherence {one.usl.beta.value:.4%}; nodes are busy "
                f"to {one.busy[0]:.0%} (exponential service times) or {one.busy[2]:.0%} (all alike) at most"
            )
        yield from (f"  not supported: {refusal}" for refusal in one.refusals)
    yield "\nCapacity at the objective:"
    yield from (f"  {sentence}" for sentence in known)
    yield "\nAssumed:"
    yield from (f"  {sentence}" for sentence in ASSUMPTIONS)


def check_words(one: PredictionCheck) -> str:
    return (
        f"{variant_name(one.middleware)}, {one.work}: from 1 to {one.known} nodes, {one.nodes} are "
        f"predicted to make {share_words(one.predicted)}/s; measured {share_words(one.measured)}/s: "
        f"{'held' if one.is_held else 'MISSED'}"
    )
