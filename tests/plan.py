"""Predict, from measured results, the nodes and brokers that a rate needs, and what limits it.

docs/planning.md tells the model, and what it cannot tell. `--check` predicts the most nodes that a run
measured from half as many, and compares.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.analysis.planning import Plan, plan
from harness.analysis.planning_check import Checked, check
from harness.experiment.session import FAILED, GOOD
from harness.record.journal import RESULTS, read_run
from harness.record.run import Run
from harness.report.planning import ASSUMPTIONS, capacities, cell, limit_words, share_words
from lab.cli import commands
from lab.errors import Code, InvalidRequest
from lab.middleware import MIDDLEWARES
from lab.options import Parser, interval

Sources = dict[tuple[str, str], tuple[str, Run]]


def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    if options.check:
        return _check(options.check, as_json=options.json)
    if options.rate is None:
        parser.error("--rate is needed, such as --rate 1000000 (or --check DIR)")
    objective_ms = 1000 * options.objective
    runs = _runs(options.origin)
    plans = [
        plan(run, source, middleware, work, options.rate, objective_ms)
        for (middleware, work), (source, run) in _newest(runs).items()
    ]
    known = capacities(runs, options.rate, objective_ms)
    if options.json:
        told = {"plans": [asdict(one) for one in plans], "capacities": known, "assumptions": ASSUMPTIONS}
        print(json.dumps({"rate": options.rate, "objective_ms": objective_ms, **told}, indent=1))
        return GOOD
    _print(plans, known, options.rate, objective_ms)
    return GOOD


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python3 -m lab plan", description=__doc__)
    parser.add_argument("--rate", type=_rate, metavar="PER_SECOND", help="requests per second to plan for")
    parser.add_argument(
        "--objective", type=interval, default=0.05, metavar="TIME", help="p99 to keep (default 50ms)"
    )
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument(
        "--from", dest="origin", type=Path, metavar="DIR", help="a run (default: the newest of each kind)"
    )
    origin.add_argument("--check", type=Path, metavar="DIR", help="predict the most nodes of this run")
    parser.add_argument("--json", action="store_true", help="print data instead of tables")
    return parser


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate") from error
    if not 0 < rate <= 1e12:
        raise argparse.ArgumentTypeError(f"{text} is not a rate: more than 0, at most 1e12 per second")
    return rate


def _runs(origin: Path | None) -> list[tuple[str, Run]]:
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


def _newest(runs: list[tuple[str, Run]]) -> Sources:
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


def _print(plans: list[Plan], known: list[str], rate: float, objective_ms: float) -> None:
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
    for sentence in _sentences(plans, known):
        console.print(sentence, highlight=False, soft_wrap=True, markup=False)


def _sentences(plans: list[Plan], known: list[str]) -> Iterator[str]:
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


def _check(folder: Path, *, as_json: bool) -> int:
    """Compare predictions with what was measured; 1 if one was missed."""
    checked = check(read_run(folder / "run.json"))
    if as_json:
        print(json.dumps([asdict(one) for one in checked], indent=1))
    for one in [] if as_json else checked:
        print(_verdict(one))
    return GOOD if all(one.is_held for one in checked) else FAILED


def _verdict(one: Checked) -> str:
    return (
        f"{MIDDLEWARES[one.middleware].label}, {one.work}: from 1 to {one.known} nodes, {one.nodes} are "
        f"predicted to make {share_words(one.predicted)}/s; measured {share_words(one.measured)}/s: "
        f"{'held' if one.is_held else 'MISSED'}"
    )


if __name__ == "__main__":
    raise SystemExit(commands.main(["plan", *sys.argv[1:]]))
