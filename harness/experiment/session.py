"""The length of an experiment: brokers, a results folder, progress, and what is written at the end."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from harness.experiment.bench import Bench, described, null_rates, several
from harness.load.workload import Workload
from harness.record.findings import corrected
from harness.record.journal import RESULTS, SPACE_BYTES, Journal, check_results, environment, write_run
from harness.record.ledger import CannotKeep, keeping
from harness.record.run import Result, Run, losses
from harness.report.formatting import as_object, busy, describe, figures, not_here
from harness.report.table import print_table
from lab.cli.brokers import brokers, say
from lab.contract import Architecture
from lab.errors import LabError
from lab.middleware import MIDDLEWARES, middleware_name
from lab.options import add_yes_option, interval, whole_number
from lab.settings import settings

GOOD, FAILED, UNDECIDED, INTERRUPTED = 0, 1, 3, 130
CLIENTS, DEPTHS = 4, (1, 50)
"""For which the load generators' own limit is measured."""
CALIBRATION_SECONDS = 1.5
"""About what that takes."""
RAW_BYTES_PER_SECOND = 600_000
"""Three times of 8 bytes each for about 25,000 requests."""


@dataclass(frozen=True, slots=True)
class Step:
    """A part of an experiment: what to say, how long it should take, what it needs, and how to measure it."""

    what: str
    seconds: float
    needs: frozenset[str]
    """Brokers without which it is skipped."""
    measure: Callable[[Bench], Iterator[Result]]


class Steps:
    """Tells progress: a live line on a terminal, a plain line a step elsewhere; a context manager.

    *total_seconds* is what the work is expected to take. The live line says what is done, how far, the last
    throughput and p99, and the time left.
    """

    def __init__(self, total_seconds: float) -> None:
        self._total_seconds = total_seconds
        self._start = time.monotonic()
        self._done_seconds = 0.0
        self._console = Console(file=sys.stderr)
        self._bar: Progress | None = None
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[latest]}"))
            self._bar = Progress(*columns, _TimeLeft(), console=self._console, transient=True)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task("starting", total=self._total_seconds, latest="")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, what: str, seconds: float) -> None:
        """Begin a step that is expected to take *seconds*."""
        if self._bar:
            self._bar.update(self._task, description=what, completed=self._done_seconds)
        else:
            elapsed = time.monotonic() - self._start
            left = f"about {max(0.0, self._total_seconds - self._done_seconds):.0f} s left"
            print(f"[{elapsed:5.1f} s, {left}] {what}", file=sys.stderr, flush=True)
        self._done_seconds += seconds

    def say(self, result: str, latest: str = "") -> None:
        """Tell a result as it comes; *latest* is its short form, for the live line."""
        if self._bar:
            self._console.print(f"  {result}", highlight=False)
            self._bar.update(self._task, latest=latest)
        else:
            print(f"    {result}", file=sys.stderr, flush=True)


class _TimeLeft(ProgressColumn):
    def render(self, task: Task) -> Text:
        left = (task.total or 0.0) - (task.elapsed or 0.0)
        return Text(f"about {left:.0f} s left" if left > 0 else "nearly done")


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is to be done, and what the record says about it."""

    name: str
    steps: Sequence[Step]
    workload: Workload | None
    """None: the steps have texts of their own."""
    configuration: dict[str, object]
    left_out: Sequence[str] = ()
    """Sentences on what a short form leaves out."""
    cluster: str | None = None
    """The Dask scheduler of the machines to measure on; None: this machine."""
    kinds: frozenset[str] = frozenset()
    """Brokers that steps use if they can be had, beyond those that they need."""
    keeps_raw: bool = True
    """Keep the times of each request, and measure first what the load generators can do."""


def conduct(
    experiment: Experiment,
    results: Path,
    judge: Callable[[Run], int] = lambda run: GOOD,
    *,
    as_json: bool = False,
) -> int:
    """Measure the steps one after the other; write data, plots, a table and a report, also when interrupted.

    Return 0; 1 if a request was lost, a system failed or the results could not be written; 130 if
    interrupted; else what *judge* says. *as_json*: print one JSON object on standard output, no tables.
    """
    kinds = experiment.kinds.union(*(step.needs for step in experiment.steps))
    raw_bytes = RAW_BYTES_PER_SECOND * sum(step.seconds for step in experiment.steps)
    needed_bytes = int(raw_bytes) if experiment.keeps_raw else 0
    with ExitStack() as stack:
        check_results(results, SPACE_BYTES + needed_bytes)  # before brokers are started
        machines = stack.enter_context(several(experiment.cluster, kinds)) if experiment.cluster else None
        urls = stack.enter_context(brokers(settings(), kinds))
        workload = experiment.workload or Workload()
        told = {"seed": workload.seed, "workload": workload.describe()} if experiment.workload else {}
        configuration = told | experiment.configuration
        where = described(machines) if machines else {}
        facts = {**environment(), **where, "brokers": list(urls.descriptions)}
        run = Run(experiment.name, configuration, facts)
        run.notes += experiment.left_out

        def measure(journal: Journal) -> int:
            raw = journal.raw if experiment.keeps_raw else None
            return _measure(experiment, Bench(urls, workload, raw, machines=machines), journal)

        return record(run, results, measure, judge, raw_bytes=needed_bytes, as_json=as_json)


def record(
    run: Run,
    results: Path,
    measure: Callable[[Journal], int],
    judge: Callable[[Run], int] = lambda run: GOOD,
    *,
    raw_bytes: int = 0,
    as_json: bool = False,
) -> int:
    """Let *measure* fill *run*, and keep what it measured whatever happens; return the exit code."""
    journal = Journal(run, results, raw_bytes)
    code = GOOD
    try:
        if raw_bytes:
            with keeping(journal.folder):
                journal.raw.mkdir()
        code = measure(journal)
    except KeyboardInterrupt:
        code = INTERRUPTED
        run.notes.append("Interrupted: what was measured until then is kept.")
    except CannotKeep as error:
        code = FAILED
        run.notes.append(f"STOPPED: {error.message}; what was measured until then is kept.")
    except BaseException as error:
        run.notes.append(f"FAILED: {error!r}; what was measured until then is kept.")
        finish(run, journal.folder, as_table=not as_json)
        raise
    run.environment["load_after"] = os.getloadavg()[0]
    is_kept = finish(run, journal.folder, as_table=not as_json)
    if as_json:
        print(json.dumps(as_object(run), indent=1))
    return code or (judge(run) if is_kept else FAILED)


def finish(run: Run, folder: Path, *, as_table: bool = True) -> bool:
    """Write the data, draw it, and say where everything is; return whether it is all in *folder*.

    Where *folder* cannot hold it, it is written to a new temporary folder. If there is no room at all, the
    record is printed, so that it is not lost.
    """
    run.findings = corrected(run.findings)
    run.notes += [said for said in (f"LOST: {one}" for one in losses(run)) if said not in run.notes]
    if as_table:
        print_table(run)
    for note in [*run.notes, *filter(None, [busy(run)])]:
        say(note)
    for place in _places(folder):
        try:
            with keeping(place):
                _write(run, place)
        except CannotKeep as error:
            say(f"NOT WRITTEN: {error.message}")
        else:
            return place == folder
    say("nothing can be written: the record follows on standard output; keep it as run.json")
    print(json.dumps(asdict(run)))
    return False


def _places(folder: Path) -> Iterator[Path]:
    yield folder
    try:
        yield Path(tempfile.mkdtemp(prefix="lab-results-"))
    except OSError as error:
        say(f"NOT WRITTEN: {tempfile.gettempdir()}: cannot be written: {error.strerror}")


def _write(run: Run, folder: Path) -> None:
    from harness.report.page import write_report  # these two take a second to import: --help need not wait
    from harness.report.plots import draw

    say(f"data:   {write_run(run, folder)}")
    plots = draw(run, folder / "plots")
    say(f"plots:  {plots[0].parent if plots else 'none, for want of data'}")
    say(f"report: {write_report(run, folder)}")


def add_experiment_options(parser: argparse.ArgumentParser) -> None:
    """Add what every experiment takes."""
    parser.add_argument(
        "--corpus", type=Path, metavar="FILE", help="send its lines instead of generated texts"
    )
    add_seed_option(parser, "seed of the generated texts (default 1)")
    add_results_option(parser)


def add_seed_option(parser: argparse.ArgumentParser, text: str) -> None:
    """Add what makes a run repeatable."""
    parser.add_argument("--seed", type=whole_number(0, 2**32 - 1), default=1, metavar="N", help=text)


def add_results_option(parser: argparse.ArgumentParser) -> None:
    """Add what every program takes that measures: where to write, and whether to install a missing broker."""
    add_yes_option(parser)
    parser.add_argument(
        "--results", type=_folder, default=RESULTS, metavar="DIR", help="where results go (default: results)"
    )


def _folder(text: str) -> Path:
    if not text:  # as of a variable that is not set; Path would make the working folder of it
        raise argparse.ArgumentTypeError("give the name of a folder")
    return Path(text)


def add_cluster_option(parser: argparse.ArgumentParser) -> None:
    """Add what an experiment takes that can be spread over machines."""
    parser.add_argument(
        "--cluster",
        type=_given,
        metavar="URL",
        help="spread nodes and load generators over the machines of the Dask scheduler at tcp://HOST:8786 "
        "(docs/cluster.md)",
    )


def _given(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("give the address of a Dask scheduler, such as tcp://10.0.0.1:8786")
    return text


def add_window_options(
    parser: argparse.ArgumentParser, quick: tuple[float, int], full: tuple[float, int]
) -> None:
    """Add how long to measure: two forms of *seconds* a window and pairs of windows, or one's own."""
    length = parser.add_mutually_exclusive_group()
    said = "{1} pairs of windows of {0:g} s"
    length.add_argument("--quick", action="store_true", help=f"{said.format(*quick)}: the default")
    length.add_argument("--full", action="store_true", help=f"{said.format(*full)}, for narrow intervals")
    parser.add_argument("--pairs", type=count, metavar="N", help="pairs of windows, at least 3 for intervals")
    parser.add_argument("--seconds", type=interval, metavar="TIME", help="length of a window")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")


def middleware_names(text: str) -> list[str]:
    """Read a comma-separated list of middlewares."""
    return list(dict.fromkeys(map(middleware_name, text.split(","))))


def needs(middleware: str, architecture: Architecture) -> frozenset[str]:
    """Return the brokers that a system needs."""
    return MIDDLEWARES[middleware].needed_brokers(architecture)


def _measure(experiment: Experiment, bench: Bench, journal: Journal) -> int:
    code, run = GOOD, journal.run
    calibration = CALIBRATION_SECONDS if experiment.keeps_raw else 0.0
    with Steps(calibration + sum(step.seconds for step in experiment.steps)) as progress:
        if calibration:
            bench = replace(bench, null_rates=_calibrated(bench, progress, run))
        journal.update()
        for step in experiment.steps:
            progress.step(step.what, step.seconds)
            missing = step.needs - bench.brokers.kinds
            if missing:
                run.notes.append(f"Skipped {step.what}: {not_here(missing)}.")
                continue
            try:
                for result in step.measure(bench):
                    journal.keep(result)
                    progress.say(describe(result), figures(result))
            except CannotKeep:
                raise
            except LabError as error:
                code = FAILED
                run.notes.append(f"FAILED {step.what}: {error.code}: {error.message}")
                progress.say(run.notes[-1])
                if bench.machines and not bench.machines.is_whole:
                    run.notes.append("What was left is not measured: a machine is lost.")
                    break
    return FAILED if losses(run) else code


def _calibrated(bench: Bench, progress: Steps, run: Run) -> dict[int, float]:
    """Return the rates that the load generators make against nothing, by requests in flight."""
    progress.step("what the load generators can do", CALIBRATION_SECONDS)
    rates = null_rates(bench, CLIENTS, DEPTHS)
    run.environment["null_rates"] = {str(depth): round(rate) for depth, rate in rates.items()}
    for depth, rate in rates.items():
        progress.say(f"against nothing, {depth} in flight: {rate:,.0f}/s, {1e6 / rate:.2f} us per request")
    return rates


def add_middleware_option(parser: argparse.ArgumentParser) -> None:
    """Add which middlewares are measured."""
    parser.add_argument(
        "--middleware",
        type=middleware_names,
        default=list(MIDDLEWARES),
        metavar="NAME,NAME",
        help=f"default: {','.join(MIDDLEWARES)}",
    )


def count(text: str) -> int:
    """Read a number of at least 1 from a command line."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return int(text)
