"""What is done with stored results: draw them again, write them as a table, put two side by side."""

import sys
from pathlib import Path

from rich.console import Console

from harness.experiment.session import finish
from harness.record.journal import RECORD, RESULTS, read_run
from harness.record.run import Run
from harness.record.table import write_csv
from harness.report.diff import diff_lines, diff_table
from lab.cli import commands
from lab.errors import Code, InvalidRequest
from lab.options import Parser


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


def _read(folder: Path) -> Run:
    if not folder.is_dir():
        raise InvalidRequest(Code.MALFORMED, f"{folder}: no such folder; `lab run` makes one")
    return read_run(folder / RECORD)


if __name__ == "__main__":
    raise SystemExit(commands.main(["report", *sys.argv[1:]]))
