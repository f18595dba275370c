"""Draw the plots and the report of a run again, from its data."""

import importlib
import sys
from pathlib import Path

from harness.record.run import RESULTS, read_run
from harness.report.page import write_report
from harness.report.plots import draw
from harness.report.table import print_table
from lab.cli import commands
from lab.errors import Code, InvalidRequest
from lab.options import Parser

SHEETS = {
    "anatomy": "harness.probes.anatomy.run",
    "growth": "harness.experiment.growth.run",
    "settings": "tests.settings",
}
"""Experiments with a record of their own, and what draws it again."""


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python3 -m lab report", description=__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", default=RESULTS / "latest", help="of a run (default: the newest)"
    )
    folder: Path = parser.parse_args(argv).folder
    if not folder.is_dir():
        raise InvalidRequest(Code.MALFORMED, f"{folder}: no such folder; `lab run` makes one")
    for experiment, module in SHEETS.items():
        if (folder / f"{experiment}.json").exists():
            importlib.import_module(module).redraw(folder)
            return 0
    run = read_run(folder / "run.json")
    draw(run, folder / "plots")
    print_table(run)
    print(write_report(run, folder))
    return 0


if __name__ == "__main__":
    raise SystemExit(commands.main(["report", *sys.argv[1:]]))
