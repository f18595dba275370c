"""The main job: all four middlewares in both architectures, stress and speedup, data and plots."""

import argparse

from lab.contract import Architecture
from lab.middlewares import MIDDLEWARES
from tests.harness.experiments import Budget
from tests.harness.session import Step, add_experiment_options, conduct, middleware_names
from tests.harness.workload import Workload
from tests.speedup import speedup_step
from tests.stress import stress_step

NODE_COUNTS = (1, 2, 3)
WORK = "5ms"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m lab run",
        description="Measure all four middlewares and draw the plots: about two minutes.",
    )
    parser.add_argument("--quick", action="store_true", help="the short form, about two minutes (default)")
    parser.add_argument("--full", action="store_true", help="longer windows, about eight minutes")
    parser.add_argument(
        "--only",
        type=middleware_names,
        default=list(MIDDLEWARES),
        metavar="A,B",
        help="only these middlewares",
    )
    add_experiment_options(parser)
    options = parser.parse_args(argv)
    if options.quick and options.full:
        parser.error("--quick and --full exclude each other")
    budget = Budget(ramp=16.0, pipelined=8.0, speedup_window=10.0) if options.full else Budget()
    workload = Workload(seed=options.seed, corpus=options.corpus)
    workload.check()
    steps: list[Step] = [
        stress_step(name, architecture, workload, budget)
        for name in options.only
        for architecture in Architecture
    ]
    steps += [speedup_step(name, NODE_COUNTS, WORK, workload, budget) for name in options.only]
    configuration: dict[str, object] = {
        "form": "full" if options.full else "quick",
        "only": options.only,
        "workload": workload.describe(),
        "seed": options.seed,
    }
    return conduct("run", steps, configuration, options.results)


if __name__ == "__main__":
    raise SystemExit(main())
