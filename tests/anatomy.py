"""Anatomy of a request: for each middleware, where the CPU time of one request goes."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from harness.experiment.bench import Bench
from harness.experiment.session import (
    FAILED,
    GOOD,
    Step,
    add_experiment_options,
    add_window_options,
    count,
    middleware_names,
    needs,
)
from harness.load.workload import Workload
from harness.probes.anatomy.measuring import anatomy
from harness.probes.anatomy.profile import Profile
from harness.record.environment import environment
from harness.record.run import new_folder
from harness.report.progress import Steps
from lab.cli import commands
from lab.cli.brokers import brokers, say
from lab.contract import Application, Architecture
from lab.errors import LabError
from lab.middlewares import MIDDLEWARES
from lab.options import Parser
from lab.settings import settings

if TYPE_CHECKING:
    from harness.probes.anatomy.run import AnatomyRun

QUICK, FULL = (1.0, 5), (5.0, 10)
"""Seconds of a window, and pairs of a window without sampling and one with it."""
START_SECONDS = 5.0
"""About what it takes to start a system and its load generators, and to end them."""
CLIENTS = 4


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    from harness.probes.anatomy.run import AnatomyRun, finish, show  # matplotlib: --help need not wait

    workload = Workload(options.application, options.seed, options.corpus)
    workload.check()
    window, pairs = FULL if options.full else QUICK
    options.seconds, options.pairs = options.seconds or window, options.pairs or pairs
    asked = ("middleware", "architecture", "clients", "seconds", "pairs")
    configuration = {name: getattr(options, name) for name in asked} | {"workload": workload.describe()}
    run = AnatomyRun(configuration=configuration, environment=environment())
    folder = new_folder(run.experiment, options.results)
    with ExitStack() as stack:
        stack.callback(say, f"data and plot: {folder}")
        stack.callback(finish, run, folder)  # also of a run that was interrupted
        kinds = (needs(name, options.architecture) for name in options.middleware)
        urls = stack.enter_context(brokers(settings(), frozenset().union(*kinds)))
        run.environment["brokers"] = list(urls.descriptions)
        code = _measure(options, Bench(urls, workload), run)
    if options.json:
        print((folder / f"{run.experiment}.json").read_text(encoding="utf-8"))
    else:
        show(run, options.places)
    return code


def anatomy_step(middleware: str) -> Step:
    """Return the anatomy of a request to one node, for a longer experiment."""
    window, pairs = FULL
    architecture = Architecture.ONE_NODE

    def measure(bench: Bench) -> Iterator[Profile]:
        yield anatomy(bench, middleware, architecture, CLIENTS, pairs, window)

    what = f"anatomy of a request: {MIDDLEWARES[middleware].label}"
    return Step(what, START_SECONDS + 2 * pairs * window, needs(middleware, architecture), measure)


def _measure(options: argparse.Namespace, bench: Bench, run: "AnatomyRun") -> int:
    each = START_SECONDS + 2 * options.pairs * options.seconds
    code = GOOD
    with Steps(each * len(options.middleware)) as progress:
        for name in options.middleware:
            label = MIDDLEWARES[name].label
            progress.step(label, each)
            try:
                found = anatomy(
                    bench, name, options.architecture, options.clients, options.pairs, options.seconds
                )
            except LabError as error:
                code = FAILED
                run.notes.append(f"FAILED {label}: {error.code}: {error.message}")
                progress.say(run.notes[-1])
                continue
            run.profiles.append(found)
            if found.repetitions:
                progress.say(f"{label}: {1000 * found.total.value:,.0f} us of CPU per request")
            else:
                progress.say(f"{label}: skipped, {found.missing}")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m tests.anatomy", description=__doc__)
    add_window_options(parser, QUICK, FULL)
    parser.add_argument(
        "--middleware",
        type=middleware_names,
        default=list(MIDDLEWARES),
        metavar="NAME,NAME",
        help=f"default: {','.join(MIDDLEWARES)}",
    )
    parser.add_argument(
        "--application", type=Application, choices=list(Application), default=Application.FILTER
    )
    parser.add_argument(
        "--architecture", type=Architecture, choices=list(Architecture), default=Architecture.ONE_NODE
    )
    parser.add_argument("--clients", type=count, default=CLIENTS, metavar="N", help="default: 4")
    parser.add_argument(
        "--places",
        type=count,
        default=8,
        metavar="N",
        help="places of the code to name per process (default 8)",
    )
    add_experiment_options(parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(commands.main(["anatomy", *sys.argv[1:]]))
