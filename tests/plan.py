"""Predict, from measured results, the nodes and brokers that a rate needs, and what limits it.

docs/planning.md tells the model, and what it cannot tell. `--check` predicts the most nodes that a run
measured from half as many, and compares.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from harness.analysis.planning import check, plan
from harness.experiment.session import FAILED, GOOD
from harness.record.journal import read_run
from harness.report.planning import (
    ASSUMPTIONS,
    best_speedups,
    capacities,
    check_words,
    print_plans,
    runs_from,
)
from lab.cli import commands
from lab.options import Parser, interval, positive


def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    if options.check:
        return _check(options.check, as_json=options.json)
    if options.rate is None:
        parser.error("--rate is needed, such as --rate 1000000 (or --check DIR)")
    objective_ms = 1000 * options.objective
    runs = runs_from(options.origin)
    plans = [
        plan(run, source, middleware, work, options.rate, objective_ms)
        for (middleware, work), (source, run) in best_speedups(runs).items()
    ]
    known = capacities(runs, options.rate, objective_ms)
    if options.json:
        told = {"plans": [asdict(one) for one in plans], "capacities": known, "assumptions": ASSUMPTIONS}
        print(json.dumps({"rate": options.rate, "objective_ms": objective_ms, **told}, indent=1))
        return GOOD
    print_plans(plans, known, options.rate, objective_ms)
    return GOOD


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python3 -m lab plan", description=__doc__)
    parser.add_argument(
        "--rate",
        type=positive("a rate, in requests per second,", most=1e12),
        metavar="PER_SECOND",
        help="requests per second to plan for",
    )
    parser.add_argument(
        "--objective", type=interval, default=0.05, metavar="TIME", help="p99 to keep (default 50ms)"
    )
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument(
        "--from", dest="origin", type=Path, metavar="DIR", help="a run (default: the best of each kind)"
    )
    origin.add_argument("--check", type=Path, metavar="DIR", help="predict the most nodes of this run")
    parser.add_argument("--json", action="store_true", help="print data instead of tables")
    return parser


def _check(folder: Path, *, as_json: bool) -> int:
    """Compare predictions with what was measured; 1 if one was missed."""
    checked = check(read_run(folder / "run.json"))
    if as_json:
        print(json.dumps([asdict(one) for one in checked], indent=1))
    for one in [] if as_json else checked:
        print(check_words(one))
    return GOOD if all(one.is_held for one in checked) else FAILED


if __name__ == "__main__":
    raise SystemExit(commands.main(["plan", *sys.argv[1:]]))
