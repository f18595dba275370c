"""Throughput of one middleware's n-node architecture at 1, 2, 3 ... nodes."""

import argparse
from collections.abc import Sequence
from functools import partial

from lab.contract import Architecture
from lab.middlewares import MIDDLEWARES
from tests.harness.experiments import Budget, speedup
from tests.harness.session import Step, add_experiment_options, conduct, needs
from tests.harness.workload import Workload

START_SECONDS = 1.5
"""About what each number of nodes takes besides its window."""


def speedup_step(
    middleware: str, node_counts: Sequence[int], work: str, workload: Workload, budget: Budget
) -> Step:
    """Return the step that measures one middleware at each of *node_counts*."""
    return Step(
        f"speedup {MIDDLEWARES[middleware].label}",
        len(node_counts) * (START_SECONDS + budget.speedup_window),
        needs(middleware, Architecture.N_NODE),
        partial(speedup, middleware, node_counts, work, workload, budget=budget),
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.speedup", description=__doc__)
    parser.add_argument("middleware", choices=MIDDLEWARES)
    parser.add_argument("--nodes", type=_counts, default=(1, 2, 3), metavar="1,2,3", help="ascending, from 1")
    parser.add_argument("--work-time", default="5ms", metavar="TIME", help="waiting per text (default 5ms)")
    parser.add_argument("--seconds", type=float, default=5.0, help="window per number of nodes (default 5)")
    add_experiment_options(parser)
    options = parser.parse_args(argv)
    if options.seconds <= 0:
        parser.error("--seconds must be more than 0")
    workload = Workload(seed=options.seed, corpus=options.corpus)
    workload.check()
    budget = Budget(speedup_window=options.seconds)
    steps = [speedup_step(options.middleware, options.nodes, options.work_time, workload, budget)]
    configuration: dict[str, object] = {"workload": workload.describe(), "work_time": options.work_time}
    return conduct("speedup", steps, configuration, options.results)


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list like 1,2,3") from error
    if counts[0] != 1 or list(counts) != sorted(set(counts)):
        raise argparse.ArgumentTypeError("numbers of nodes start at 1 and ascend: speedup is against 1 node")
    return counts


if __name__ == "__main__":
    raise SystemExit(main())
