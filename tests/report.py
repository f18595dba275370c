"""Draw the plots and the report of a run again, from its data; also of a run that was cut off."""

import sys
from pathlib import Path

from harness.experiment.session import finish
from harness.record.journal import RECORD, RESULTS, read_run
from lab.cli import commands
from lab.errors import Code, InvalidRequest
from lab.options import Parser


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python3 -m lab report", description=__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", default=RESULTS / "latest", help="of a run (default: the newest)"
    )
    folder: Path = parser.parse_args(argv).folder
    if not folder.is_dir():
        raise InvalidRequest(Code.MALFORMED, f"{folder}: no such folder; `lab run` makes one")
    finish(read_run(folder / RECORD), folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(commands.main(["report", *sys.argv[1:]]))
