"""What is done with stored results: draw them again, write them as a table, put two side by side, plan."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from harness.analysis import planning
from harness.experiment.session import FAILED, GOOD, finish
from harness.record.journal import RECORD, RESULTS, read_run
from harness.record.run import Run
from harness.record.table import write_csv
from harness.report.diff import diff_lines, diff_table
from harness.report.planning import (
    ASSUMPTIONS,
    best_speedups,
    capacities,
    check_words,
    print_plans,
    runs_from,
)
from lab.cli import commands
from lab.errors import Code, InvalidRequest
from lab.options import Parser, interval, positive


def main(argv: list[str] | None = None) -> int:
    """Draw the plots and the report of a run again, from its data; also of a run that was cut off."""
    parser = Parser(prog="python3 -m lab report", description=main.__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", default=RESULTS / "latest", help="of a run (default: the newest)"
    )
    folder: Path = parser.parse_args(argv).folder
    finish(_read(folder), folder)
    return 0


def export(argv: list[str] | None = None) -> int:
    """Write a run as a table, one row a window; docs/experiments.md tells its columns."""
    parser = Parser(prog="python3 -m lab export", description=export.__doc__)
    parser.add_argument("folder", type=Path, help="of a run, such as results/latest")
    parser.add_argument("--csv", type=Path, required=True, metavar="FILE", help="where to write")
    options = parser.parse_args(argv)
    count = write_csv(_read(options.folder), options.csv)
    print(f"{count} windows: {options.csv}")
    return 0


def diff(argv: list[str] | None = None) -> int:
    """Put two stored runs side by side, and tell what may be concluded from them."""
    parser = Parser(prog="python3 -m lab diff", description=diff.__doc__)
    parser.add_argument("a", type=Path, metavar="A", help="the folder of a run")
    parser.add_argument("b", type=Path, metavar="B", help="the folder of another")
    options = parser.parse_args(argv)
    first, second = _read(options.a), _read(options.b)
    table = diff_table(first, second)
    if table.row_count:
        Console().print(table)
    for line in diff_lines(first, second):
        print(line)
    return 0


def plan(argv: list[str] | None = None) -> int:
    """Predict, from measured results, the nodes and brokers that a rate needs, and what limits it.

    docs/planning.md tells the model, and what it cannot tell. `--check` predicts the most nodes that a run
    measured from half as many, and compares.
    """
    parser = _plan_parser()
    options = parser.parse_args(argv)
    if options.check:
        return _check(options.check, as_json=options.json)
    if options.rate is None:
        parser.error("--rate is needed, such as --rate 1000000 (or --check DIR)")
    objective_ms = 1000 * options.objective
    runs = runs_from(options.origin)
    plans = [
        planning.plan(run, source, middleware, work, options.rate, objective_ms)
        for (middleware, work), (source, run) in best_speedups(runs).items()
    ]
    known = capacities(runs, options.rate, objective_ms)
    if options.json:
        told = {"plans": [asdict(one) for one in plans], "capacities": known, "assumptions": ASSUMPTIONS}
        print(json.dumps({"rate": options.rate, "objective_ms": objective_ms, **told}, indent=1))
        return GOOD
    print_plans(plans, known, options.rate, objective_ms)
    return GOOD


def _plan_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python3 -m lab plan", description=plan.__doc__)
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
    checked = planning.check(read_run(folder / RECORD))
    if as_json:
        print(json.dumps([asdict(one) for one in checked], indent=1))
    for one in [] if as_json else checked:
        print(check_words(one))
    return GOOD if all(one.is_held for one in checked) else FAILED


def _read(folder: Path) -> Run:
    if not folder.is_dir():
        raise InvalidRequest(Code.MALFORMED, f"{folder}: no such folder; `lab run` makes one")
    return read_run(folder / RECORD)


if __name__ == "__main__":
    raise SystemExit(commands.main(["report", *sys.argv[1:]]))
