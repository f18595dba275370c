"""The length of an experiment: brokers, a results folder, progress, and what is written at the end."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from harness.experiment.bench import Bench, null_rates
from harness.experiment.several import described, several
from harness.load.workload import Workload
from harness.record.environment import environment
from harness.record.run import RESULTS, Result, Run, losses, make_results, new_folder
from harness.report.progress import Steps
from harness.report.words import describe, figures, not_here
from lab.cli.brokers import brokers
from lab.contract import Architecture
from lab.errors import LabError
from lab.middlewares import MIDDLEWARES, middleware_name
from lab.options import interval
from lab.settings import settings

GOOD, FAILED, INTERRUPTED = 0, 1, 130
CLIENTS, DEPTHS = 4, (1, 50)
"""For which the load generators' own limit is measured."""
CALIBRATION_SECONDS = 1.5
"""About what that takes."""


@dataclass(frozen=True, slots=True)
class Step:
    """A part of an experiment: what to say, how long it should take, what it needs, and how to measure it."""

    what: str
    seconds: float
    needs: frozenset[str]
    measure: Callable[[Bench], Iterator[Result]]


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is to be done, and what the record says about it."""

    name: str
    steps: Sequence[Step]
    workload: Workload
    configuration: dict[str, object]
    left_out: Sequence[str] = ()
    """Sentences on what a short form leaves out."""
    cluster: str | None = None
    """The Dask scheduler of the machines to measure on; None: this machine."""


def conduct(experiment: Experiment, results: Path, judge: Callable[[Run], int] = lambda run: GOOD) -> int:
    """Measure the steps one after the other; write data, plots, a table and a report, also when interrupted.

    Return 0; 1 if a request was lost or a system failed; 130 if interrupted; else what *judge* says.
    """
    from harness.report.finish import finish  # matplotlib takes a second to import: --help need not wait

    kinds: frozenset[str] = frozenset().union(*(step.needs for step in experiment.steps))
    make_results(results)  # before brokers are started
    with ExitStack() as stack:
        machines = stack.enter_context(several(experiment.cluster, kinds)) if experiment.cluster else None
        urls = stack.enter_context(brokers(settings(), kinds))
        workload = experiment.workload
        configuration = {"seed": workload.seed, **experiment.configuration, "workload": workload.describe()}
        where = described(machines) if machines else {}
        facts = {**environment(), **where, "brokers": list(urls.descriptions)}
        run = Run(experiment.name, configuration, facts)
        run.notes += experiment.left_out
        folder = new_folder(experiment.name, results)
        raw = folder / "raw"
        raw.mkdir()
        code = GOOD
        try:
            code = _measure(experiment, Bench(urls, experiment.workload, raw, machines=machines), run)
        except KeyboardInterrupt:
            code = INTERRUPTED
            run.notes.append("Interrupted: what was measured until then is kept.")
        except BaseException as error:
            run.notes.append(f"FAILED: {error!r}; what was measured until then is kept.")
            finish(run, folder)
            raise
    finish(run, folder)
    return code or judge(run)


def add_experiment_options(parser: argparse.ArgumentParser) -> None:
    """Add what every experiment takes."""
    parser.add_argument(
        "--corpus", type=Path, metavar="FILE", help="send its lines instead of generated texts"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the generated texts (default 1)")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR", help="where results go (default: results)"
    )


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
    return [middleware_name(name) for name in text.split(",")]


def needs(middleware: str, architecture: Architecture) -> frozenset[str]:
    """Return the brokers that a system needs."""
    return MIDDLEWARES[middleware].needed_brokers(architecture)


def _measure(experiment: Experiment, bench: Bench, run: Run) -> int:
    code = GOOD
    with Steps(CALIBRATION_SECONDS + sum(step.seconds for step in experiment.steps)) as progress:
        progress.step("what the load generators can do", CALIBRATION_SECONDS)
        rates = null_rates(bench, CLIENTS, DEPTHS)
        run.environment["null_rates"] = {str(depth): round(rate) for depth, rate in rates.items()}
        for depth, rate in rates.items():
            progress.say(
                f"against nothing, {depth} in flight: {rate:,.0f}/s, {1e6 / rate:.2f} us per request"
            )
        bench = replace(bench, null_rates=rates)
        for step in experiment.steps:
            progress.step(step.what, step.seconds)
            missing = step.needs - bench.brokers.kinds
            if missing:
                run.notes.append(f"Skipped {step.what}: {not_here(missing)}.")
                continue
            try:
                for result in step.measure(bench):
                    run.keep(result)
                    progress.say(describe(result), figures(result))
            except LabError as error:
                code = FAILED
                run.notes.append(f"FAILED {step.what}: {error.code}: {error.message}")
                progress.say(run.notes[-1])
                if bench.machines and not bench.machines.is_whole:
                    run.notes.append("What was left is not measured: a machine is lost.")
                    break
    return FAILED if losses(run) else code


def count(text: str) -> int:
    """Read a number of at least 1 from a command line."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 1 or more")
    return int(text)
