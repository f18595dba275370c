"""Plans in words: their assumptions, their cells, and what capacity searches add."""

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.analysis.planning import BUSY, FARTHEST, SHARED_CORES, Limit, Plan, PredictionCheck, Range
from harness.record.journal import RESULTS, read_run
from harness.record.run import Run
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
    """Return what the newest capacity search of each n-node system, without declared work, adds."""
    found: dict[str, str] = {}
    for source, run in runs:
        for one in run.capacities:
            name = system_name(one.middleware, one.architecture)
            if one.architecture != Architecture.N_NODE or name in found:
                continue
            within = f"with p99 within {one.objective_ms:g} ms ({source})"
            said = f"{name}, {one.nodes} nodes: {capacity(one)} {within}"
            if one.objections:
                found[name] = f"not supported: {name}: the search is invalid: {'; '.join(one.objections)}"
            elif one.objective_ms > objective_ms:
                found[name] = f"not supported: {said}, which is more than is allowed"
            elif one.low:
                systems = math.ceil(rate / one.low)
                found[name] = f"{said}: {systems:,} such system(s) side by side carry the rate"
    missing = [one for one in MIDDLEWARES if system_name(one, Architecture.N_NODE) not in found]
    if missing:
        command = f"`lab stress M --study capacity --objective {objective_ms:g}`"
        found["missing"] = f"not supported: {', '.join(missing)}: no search was made; {command} makes one"
    return list(found.values())


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


def newest_speedups(runs: list[tuple[str, Run]]) -> Sources:
    """Return, by middleware and kind of work, the newest run that has a speedup of it."""
    found: Sources = {}
    for source, run in runs:
        for kind in {(point.middleware, point.work): None for point in run.of("speedup")}:
            found.setdefault(kind, (source, run))
    if not found:
        raise InvalidRequest(
            Code.MALFORMED, "no speedup is measured yet; `lab speedup redis_impl --nodes 1,2,3,4` makes one"
        )
    order = list(MIDDLEWARES)
    return dict(sorted(found.items(), key=lambda item: (order.index(item[0][0]), item[0][1])))


def print_plans(plans: list[Plan], known: list[str], rate: float, objective_ms: float) -> None:
    console = Console()
    title = f"Plan for {rate:,.0f} requests/s, p99 within {objective_ms:g} ms (at least, about, at most)"
    table = Table(title=title, title_justify="left")
    for column in ("middleware, work", "one node, /s", "nodes", "brokers", "first limit: shard it", "cores"):
        table.add_column(column)
    for one in plans:
        table.add_row(
            f"{MIDDLEWARES[one.middleware].label}, {one.work}",
            share_words(one.one_node),
            cell(one.nodes),
            cell(one.brokers),
            limit_words(one.limits),
            "-" if one.cores is None else f"{one.cores:,.0f}",
        )
    console.print(table)
    for sentence in _plan_sentences(plans, known):
        console.print(sentence, highlight=False, soft_wrap=True, markup=False)


def _plan_sentences(plans: list[Plan], known: list[str]) -> Iterator[str]:
    for one in plans:
        yield f"\n{MIDDLEWARES[one.middleware].label}, {one.work}, from {one.source}:"
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
        f"{MIDDLEWARES[one.middleware].label}, {one.work}: from 1 to {one.known} nodes, {one.nodes} are "
        f"predicted to make {share_words(one.predicted)}/s; measured {share_words(one.measured)}/s: "
        f"{'held' if one.is_held else 'MISSED'}"
    )
