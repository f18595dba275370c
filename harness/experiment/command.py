"""What all commands that measure have in common: their options, and the experiment that these fill in."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from harness.experiment.definition import Document, Filling
from harness.experiment.document import EXPERIMENTS, read_document, read_experiment
from harness.experiment.factors import MOST_NODES
from harness.experiment.runner import judge, steps_of
from harness.experiment.session import (
    Experiment,
    add_cluster_option,
    add_experiment_options,
    conduct,
    count,
)
from harness.load.workload import Workload
from lab.contract import Application
from lab.errors import Code, InvalidRequest
from lab.options import as_written, duration, interval

LOAD = {
    "clients": ("N", "clients"),
    "nodes": ("N,N", "nodes, of n-node systems; a list is measured number by number"),
    "in-flight": ("N", "requests in flight per client"),
    "batch": ("N", "texts in one request (XML-RPC and Pyro4)"),
    "text": ("SIZE", "length of the texts, such as 1KiB; or generated"),
    "handler": ("MODULE:FUNCTION", "a function of your own from text to text, in place of censoring"),
    "guarantee": ("WHAT", "nothing kept, in the broker's memory, or on disk"),
}
"""Options that set factors of every side, with their values and help."""
ON_ONE_MACHINE = (
    "Left out with --cluster: what starts its own processes on one machine. These are dynamic scaling, the "
    "parts of a request's CPU time, and brokers that keep nothing."
)


def add_load_options(parser: argparse.ArgumentParser, **types: Callable[[str], str]) -> None:
    """Add the factors that every measurement takes; *types* check some of them."""
    group = parser.add_argument_group("the load, in place of what the experiment's file says")
    for name, (value, text) in LOAD.items():
        group.add_argument(f"--{name}", metavar=value, help=text, type=types.get(name, str))
    group.add_argument("--unchecked", action="store_true", help="do not check what the handler returns")
    work = group.add_mutually_exclusive_group()
    work.add_argument(
        "--work-time", type=as_written(duration), metavar="TIME", help="waiting per text, such as 5ms"
    )
    work.add_argument(
        "--work-cpu", type=as_written(duration), metavar="TIME", help="computing per text, such as 2ms"
    )


def add_run_options(parser: argparse.ArgumentParser, *also_window: str) -> None:
    """Add how long to measure, where results go, and on which machines; *also_window*: other names."""
    parser.add_argument("--blocks", type=count, metavar="N", help="in each, all sides are measured")
    parser.add_argument(
        "--window",
        *also_window,
        type=as_written(interval),
        metavar="TIME",
        help="length of a measurement, such as 2s",
    )
    parser.add_argument(
        "--budget",
        type=as_written(interval),
        metavar="TIME",
        help="add blocks for this time at most while something is undecided",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    add_experiment_options(parser)
    add_cluster_option(parser)


def filling(options: argparse.Namespace, **fields: object) -> Filling:
    """Return what *options* say of an experiment; *fields* are those of its parts."""
    given = vars(options)
    load: dict[str, object] = {
        name.replace("-", " "): given[key]
        for name in LOAD
        if given.get(key := name.replace("-", "_")) is not None
    }
    for option, kind in (("work_time", "waiting"), ("work_cpu", "computing")):
        if given.get(option):
            load["work"] = f"{given[option]} {kind}"
    if given.get("unchecked"):
        load["unchecked"] = "yes"
    if "," in str(load.get("nodes", "")):
        load["nodes"] = str(load["nodes"]).split(",")
    told = {name: given[name] for name in ("blocks", "window", "budget") if given.get(name)}
    return Filling(
        load, {**told, **fields}, given.get("only") or (), given.get("study") or (), bool(given.get("full"))
    )


def node_counts(text: str) -> str:
    """Check numbers of nodes for a speedup, which is against one node."""
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list like 1,2,3") from error
    if counts[0] != 1 or counts != sorted(set(counts)):
        raise argparse.ArgumentTypeError("numbers of nodes start at 1 and ascend: speedup is against 1 node")
    if counts[-1] > MOST_NODES:
        raise argparse.ArgumentTypeError(f"at most {MOST_NODES} nodes: each is a process on this machine")
    return text


def names(text: str) -> list[str]:
    """Read a comma-separated list."""
    return [name.strip() for name in text.split(",")]


def measure_shipped(name: str, parser: argparse.ArgumentParser, argv: list[str] | None) -> int:
    """Measure the experiment *name* of the lab as *argv* says; *parser* has the options of its own."""
    add_load_options(parser)
    add_run_options(parser)
    options = parser.parse_args(argv)
    return measure(shipped(name), name, options, filling(options))


def measure(source: Path | Mapping[str, Any], name: str, options: argparse.Namespace, given: Filling) -> int:
    """Measure the experiment of *source*, a file or what stands in one; return the exit code."""
    given = replace(given, is_spread=bool(options.cluster))
    if isinstance(source, Path):
        document = read_experiment(source, given)
    else:
        document = read_document(source, "", given)
    asked = {side.application for part in document.parts for side in part.sides}
    application = asked.pop() if len(asked) == 1 else Application.FILTER
    workload = Workload(application, options.seed, options.corpus)
    workload.check()
    left_out = [document.left_out] if document.left_out else []
    if options.cluster and any(part.probe for part in document.parts):
        left_out.append(ON_ONE_MACHINE)
        document = replace(document, parts=tuple(part for part in document.parts if not part.probe))
    revisions = {side.revision for part in document.parts for side in part.sides}
    told = {
        **configuration(document),
        "revisions": sorted(filter(None, revisions)),
        "form": "full" if given.is_full else "short",
    }
    experiment = Experiment(name, steps_of(document), workload, told, left_out, options.cluster)
    return conduct(experiment, options.results, judge, as_json=options.json)


def configuration(document: Document) -> dict[str, object]:
    """Return what the record says of *document*."""
    return {"question": document.question, "experiment": yaml.safe_dump(document.source, sort_keys=False)}


def shipped(name: str) -> Path:
    """Return the file of an experiment that comes with the lab."""
    path = EXPERIMENTS / f"{name}.yaml"
    if not path.is_file():
        raise InvalidRequest(Code.MALFORMED, f"{path}: is missing; the lab is not whole")
    return path
