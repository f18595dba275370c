"""What each setting costs: one change at a time from the default, the same load, with intervals.

Each change is measured in alternating windows with the default, in one run. --only takes middlewares,
settings and values: `xmlrpc,rabbitmq:prefetch,redis_impl:appendonly=off`.
"""

import argparse
import itertools
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from harness.experiment.session import add_window_options
from harness.experiment.settings.cost import FILE, Costs, as_json
from harness.experiment.settings.measured import measured, seconds_of
from harness.experiment.settings.table import changes
from harness.experiment.settings.words import lines
from harness.experiment.thresholds.load import CLIENTS
from harness.experiment.thresholds.sides import Terms
from harness.record.environment import environment
from harness.record.run import RESULTS, new_folder
from harness.record.sheet import read_sheet
from harness.report.progress import Steps
from lab.cli import commands
from lab.cli.brokers import brokers, say
from lab.contract import Architecture
from lab.middlewares import MIDDLEWARES
from lab.options import Parser
from lab.settings import settings

QUICK, FULL = (0.7, 3), (5.0, 7)
"""Seconds of a window, and pairs of windows."""


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    wanted = {
        middleware: list(some)
        for middleware, some in itertools.groupby(
            changes(options.only), lambda change: change.setting.middleware
        )
    }
    usual_seconds, usual_pairs = FULL if options.full else QUICK
    window, pairs = options.seconds or usual_seconds, options.pairs or usual_pairs
    folder = new_folder("settings", options.results)
    run = Costs(
        experiment="settings",
        configuration={"only": options.only},
        environment=environment(),
        seconds=window,
        pairs=pairs,
        clients=CLIENTS,
    )
    needed = (MIDDLEWARES[name].needed_brokers(Architecture.ONE_NODE) for name in wanted)
    with ExitStack() as stack:
        stack.callback(_write, run, folder)
        urls = stack.enter_context(brokers(settings(), frozenset().union(*needed)))
        run.environment["brokers"] = list(urls.descriptions)
        terms = Terms(urls, window, pairs)
        expected = {name: seconds_of(some, terms) for name, some in wanted.items()}
        with Steps(sum(expected.values())) as progress:
            for name, some in wanted.items():
                progress.step(f"{MIDDLEWARES[name].label}: {len(some)} changes", expected[name])
                for cost in measured(name, some, terms):
                    run.costs.append(cost)
                    for line in lines(cost):
                        progress.say(line)
    _conclude(run, folder, as_object=options.json)
    return 0 if all(cost.is_valid or cost.missing for cost in run.costs) else 1


def redraw(folder: Path) -> None:
    """Draw and print a stored run again."""
    from harness.report.plots.tornado import draw_tornados

    run = read_sheet(folder / FILE, Costs)
    draw_tornados(run, folder / "plots")
    _conclude(run, folder, as_object=False)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m tests.settings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_window_options(parser, QUICK, FULL)
    parser.add_argument(
        "--only", default="", metavar="WHAT,WHAT", help="MIDDLEWARE, MIDDLEWARE:SETTING or ...:SETTING=VALUE"
    )
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR", help="where results go (default: results)"
    )
    return parser


def _write(run: Costs, folder: Path) -> None:
    """Write data and plots; also of a run that was interrupted."""
    from harness.report.plots.tornado import draw_tornados  # matplotlib takes a second to import

    run.environment["load_after"] = os.getloadavg()[0]
    (folder / FILE).write_text(as_json(run), encoding="utf-8")
    draw_tornados(run, folder / "plots")


def _conclude(run: Costs, folder: Path, *, as_object: bool) -> None:
    """Print all costs, with a word on how busy the machine was."""
    say(f"data and plots: {folder}")
    if run.busy:
        say(run.busy)
    if as_object:
        print((folder / FILE).read_text(encoding="utf-8"))
        return
    for cost in run.costs:
        print("\n".join(lines(cost)))


if __name__ == "__main__":
    raise SystemExit(commands.main(["settings", *sys.argv[1:]]))
