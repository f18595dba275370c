"""Speedup of one middleware: throughput at 1, 2, 3 ... nodes under the same offered concurrency."""

import argparse
import sys

from harness.experiment.session import Experiment, add_cluster_option, add_experiment_options, conduct, count
from harness.experiment.speedup import LATENCY_BOUND, speedup_step
from harness.load.workload import Workload
from lab.cli import commands
from lab.middleware import VARIANTS_HELP, middleware_name
from lab.options import Parser, duration, interval

MOST_NODES = 64
"""About what it takes to start a system and its load generators."""


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m tests.speedup", description=__doc__)
    parser.add_argument("middleware", type=middleware_name, metavar="MIDDLEWARE", help=VARIANTS_HELP)
    parser.add_argument("--nodes", type=_counts, default=(1, 2, 3), metavar="1,2,3", help="ascending, from 1")
    parser.add_argument("--full", action="store_true", help="1, 2, 3, 4, 6 and 8 nodes")
    work = parser.add_mutually_exclusive_group()
    work.add_argument("--work-time", metavar="TIME", help="waiting per text (default 5ms)")
    work.add_argument("--work-cpu", metavar="TIME", help="computing per text, such as 2ms")
    parser.add_argument("--trials", type=count, default=5, help="fresh processes each (default 5)")
    parser.add_argument(
        "--seconds", type=interval, default=4.0, metavar="TIME", help="window of a trial (default 4s)"
    )
    add_experiment_options(parser)
    add_cluster_option(parser)
    options = parser.parse_args(argv)
    for text in filter(None, (options.work_time, options.work_cpu)):
        try:
            duration(text)
        except argparse.ArgumentTypeError as error:
            parser.error(str(error))
    chosen = ("--work-cpu", options.work_cpu) if options.work_cpu else ("--work-time", options.work_time)
    work_option = chosen if chosen[1] else LATENCY_BOUND
    counts = (1, 2, 3, 4, 6, 8) if options.full else options.nodes
    workload = Workload(seed=options.seed, corpus=options.corpus)
    workload.check()
    step = speedup_step(
        [options.middleware], counts, work_option, blocks=options.trials, window=options.seconds, fresh=True
    )
    configuration = {
        "middleware": options.middleware,
        "nodes": counts,
        "trials": options.trials,
        "seconds": options.seconds,
    }
    return conduct(
        Experiment("speedup", [step], workload, configuration, cluster=options.cluster), options.results
    )


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list like 1,2,3") from error
    if counts[0] != 1 or list(counts) != sorted(set(counts)):
        raise argparse.ArgumentTypeError("numbers of nodes start at 1 and ascend: speedup is against 1 node")
    if counts[-1] > MOST_NODES:
        raise argparse.ArgumentTypeError(f"at most {MOST_NODES} nodes: each is a process on this machine")
    return counts


if __name__ == "__main__":
    raise SystemExit(commands.main(["speedup", *sys.argv[1:]]))
