"""The performance bars: each row measured on both sides in one run, in alternating pairs of windows."""

import argparse
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from harness.experiment.session import add_window_options
from harness.experiment.thresholds.finding import Finding, Verdict, as_json
from harness.experiment.thresholds.rows import ROWS, measured
from harness.experiment.thresholds.sides import Terms
from harness.experiment.thresholds.words import lines
from harness.record.environment import environment
from harness.record.run import RESULTS, new_folder
from harness.report.progress import Steps
from lab.cli import commands
from lab.cli.brokers import brokers, say
from lab.options import Parser
from lab.process.cores import usable_cores
from lab.settings import settings

QUICK, FULL = (1.0, 3), (5.0, 7)
"""Seconds of a window, and pairs of windows."""
SCHEMA = 1
KINDS = frozenset({"redis", "rabbitmq"})


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    usual_seconds, usual_pairs = FULL if options.full else QUICK
    window, pairs = options.seconds or usual_seconds, options.pairs or usual_pairs
    folder = new_folder("bench", options.results)
    before = environment()
    findings: list[Finding] = []
    with ExitStack() as stack:
        stack.callback(_write, folder, before, findings, window, pairs, options)
        urls = stack.enter_context(brokers(settings(), KINDS))
        terms = Terms(urls, window, pairs, options.full, options.yardstick, options.corpus)
        total = sum(ROWS[name].seconds(pairs, window) for name in options.only)
        with Steps(total) as progress:
            for name in options.only:
                row = ROWS[name]
                progress.step(row.what, row.seconds(pairs, window))
                for finding in measured(name, row, terms):
                    findings.append(finding)
                    for line in lines(finding):
                        progress.say(line)
    _conclude(findings, before, folder, as_object=options.json)
    is_good = all(one.verdict not in (Verdict.MISSED, Verdict.INVALID) for one in findings)
    return 0 if is_good or options.no_judge else 1


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m tests.bench", description=__doc__)
    add_window_options(parser, QUICK, FULL)
    parser.add_argument("--only", type=_rows, default=list(ROWS), metavar="ROW,ROW", help=", ".join(ROWS))
    parser.add_argument(
        "--yardstick",
        type=_program,
        metavar="PATH",
        help="a program to compare with, not the plain reference",
    )
    parser.add_argument("--corpus", type=_program, metavar="FILE", help="lines of text to censor")
    parser.add_argument(
        "--no-judge", action="store_true", help="only print: exit code 0 also where a bar is missed"
    )
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR", help="where results go (default: results)"
    )
    return parser


def _rows(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in ROWS:
            raise argparse.ArgumentTypeError(f"no row {name!r}; there are {', '.join(ROWS)}")
    return names


def _program(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text} is not a file")
    return path.resolve()


def _write(
    folder: Path,
    before: dict[str, object],
    findings: list[Finding],
    window: float,
    pairs: int,
    options: argparse.Namespace,
) -> None:
    """Write data and plot; also of a run that was interrupted."""
    from harness.report.plots.bars import draw_bars  # matplotlib takes a second to import

    record = {
        "schema": SCHEMA,
        "experiment": "bench",
        "environment": {**before, "load_after": os.getloadavg()[0]},
        "seconds": window,
        "pairs": pairs,
        "yardstick": options.yardstick.name if options.yardstick else "",
        "findings": [as_json(finding) for finding in findings],
    }
    (folder / "bench.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    draw_bars(findings, folder / "plots")


def _conclude(findings: list[Finding], before: dict[str, object], folder: Path, *, as_object: bool) -> None:
    """Print all findings, with a word on how busy the machine was."""
    load, cores = before["load_before"], usable_cores()
    say(f"data and plots: {folder}")
    if isinstance(load, float) and load > cores / 2:
        say(f"CAUTION: the load was {load:.1f} on {cores} cores before: others work here, ratios vary more")
    if as_object:
        print((folder / "bench.json").read_text(encoding="utf-8"))
        return
    for finding in findings:
        print("\n".join(lines(finding)))


if __name__ == "__main__":
    raise SystemExit(commands.main(["bench", *sys.argv[1:]]))
