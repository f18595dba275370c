"""``lab doctor``: what is here, what is missing, and how to get it."""

import json
from dataclasses import asdict

from lab.cli.brokers import say
from lab.cli.findings import MISSING, Finding, findings
from lab.cli.leftovers import leftovers
from lab.options import Parser, duration
from lab.settings import Settings, settings

IDLE_SECONDS = 3600.0


def main(argv: list[str]) -> int:
    """Print a row for everything that is needed; return 1 if something is missing."""
    parser = Parser(
        prog="python3 -m lab doctor", description="What is here, what is missing, and how to get it."
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--sweep", action="store_true", help="remove what killed runs left behind")
    parser.add_argument(
        "--idle",
        type=duration,
        default=IDLE_SECONDS,
        metavar="TIME",
        help="unused for that long (default 1h)",
    )
    arguments = parser.parse_args(argv)
    if arguments.sweep:
        _sweep(settings(), arguments.idle)
    rows = findings(settings(), arguments.idle)
    print(json.dumps([asdict(row) for row in rows], indent=2) if arguments.json else _table(rows))
    return 1 if any(row.state == MISSING for row in rows) else 0


def _sweep(known: Settings, idle_seconds: float) -> None:
    """Remove what nobody uses, processes first: they hold the rest; nothing that is not ours, ever."""
    for leftover in leftovers(known, idle_seconds):
        say(f"removing {leftover.what}")
        leftover.remove()


def _table(rows: list[Finding]) -> str:
    width = max(len(row.what) for row in rows)
    lines = []
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        lines.append(f"{row.what:{width}}  {row.state:7}  {row.detail}")
        if row.mend and not (following and following.mend == row.mend):
            lines.append(f"{'':{width}}  {'':7}  -> {row.mend}")
    return "\n".join(lines)
