"""The length of an experiment: brokers, a results folder, progress, and what is written at the end."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.cli.brokers import brokers, say
from lab.cluster import BrokerUrls
from lab.contract import Architecture
from lab.errors import LabError
from lab.middlewares import MIDDLEWARES
from lab.settings import settings
from tests.harness.environment import environment
from tests.harness.plots import draw
from tests.harness.progress import Steps
from tests.harness.record import RESULTS, Point, Run, losses, new_folder, write_run
from tests.harness.table import print_table

GOOD, FAILED, INTERRUPTED = 0, 1, 130


@dataclass(frozen=True, slots=True)
class Step:
    """A part of an experiment: what to say, how long it should take, what it needs, and how to measure it."""

    what: str
    seconds: float
    needs: frozenset[str]
    measure: Callable[[BrokerUrls], Iterator[Point]]


def conduct(experiment: str, steps: Sequence[Step], configuration: dict[str, object], results: Path) -> int:
    """Measure *steps* one after the other and write data, plots and a table, also when interrupted.

    Return 0; 1 if a request was lost or a system failed; 130 if interrupted.
    """
    kinds: frozenset[str] = frozenset().union(*(step.needs for step in steps))
    with brokers(settings(), kinds) as urls:
        run = Run(experiment, configuration, {**environment(), "brokers": urls.descriptions})
        folder = new_folder(experiment, results)
        code = GOOD
        try:
            code = _measure(steps, urls, run)
        except KeyboardInterrupt:
            code = INTERRUPTED
            run.notes.append("Interrupted: what was measured until then is kept.")
    _finish(run, folder)
    return code


def add_experiment_options(parser: argparse.ArgumentParser) -> None:
    """Add what every experiment takes."""
    parser.add_argument(
        "--corpus", type=Path, metavar="FILE", help="send its lines instead of generated texts"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the generated texts (default 1)")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR", help="where results go (default: results)"
    )


def middleware_names(text: str) -> list[str]:
    """Read a comma-separated list of middlewares."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in MIDDLEWARES:
            raise argparse.ArgumentTypeError(f"no middleware {name!r}; there are {', '.join(MIDDLEWARES)}")
    return names


def needs(middleware: str, architecture: Architecture) -> frozenset[str]:
    """Return the brokers that a system needs."""
    return MIDDLEWARES[middleware].needed_brokers(architecture)


def _measure(steps: Sequence[Step], urls: BrokerUrls, run: Run) -> int:
    code = GOOD
    with Steps(sum(step.seconds for step in steps)) as progress:
        for step in steps:
            progress.step(step.what, step.seconds)
            if step.needs - urls.kinds:
                run.notes.append(
                    f"Skipped {step.what}: no {' and no '.join(sorted(step.needs - urls.kinds))} here."
                )
                continue
            try:
                for point in step.measure(urls):
                    run.points.append(point)
                    progress.say(describe(point))
            except LabError as error:
                code = FAILED
                run.notes.append(f"FAILED {step.what}: {error.code}: {error.message}")
                progress.say(run.notes[-1])
    return FAILED if losses(run.points) else code


def describe(point: Point) -> str:
    """Return a line about *point*."""
    measured = point.measurement
    if measured.throughput is None:
        return f"{measured.made} requests: {measured.wrong} wrong, {measured.failed} failed; no throughput"
    p99 = f", p99 {measured.p99_ms:.2f} ms" if measured.p99_ms else ""
    nodes = f"{point.nodes} node{'s' if point.nodes > 1 else ''}"
    load = f"{point.clients} clients x {point.in_flight}"
    times = f"p50 {measured.p50_ms:.2f} ms{p99}"
    return f"{nodes}, {load}: {measured.done} requests, {measured.throughput:,.0f}/s, {times}"


def _finish(run: Run, folder: Path) -> None:
    run.notes += [f"LOST: {sentence}" for sentence in losses(run.points)]
    path = write_run(run, folder)
    plots = draw(run, folder / "plots")
    print_table(run)
    for note in run.notes:
        say(note)
    say(f"data: {path}")
    for plot in plots:
        say(f"plot: {plot}")
