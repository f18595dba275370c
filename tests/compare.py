"""Compare A with B: both measured in alternating blocks of fresh processes, paired, with a noise floor.

A and B are a middleware, perhaps with options: `redis_impl rabbitmq`, `rabbitmq rabbitmq:prefetch=1`,
`xmlrpc xmlrpc:nodes=3,in_flight=50`.
"""

import argparse
import re
import sys
from functools import partial

from harness.experiment.comparison import comparison_step, judge, read_contestant
from harness.experiment.session import (
    Experiment,
    add_experiment_options,
    conduct,
    count,
)
from harness.load.workload import Workload
from lab.cli import commands
from lab.options import Parser, interval


def main(argv: list[str] | None = None) -> int:
    parser = Parser(
        prog="python -m tests.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument("--blocks", type=count, default=5, help="of A, B, A again (default 5; 3 at least)")
    parser.add_argument(
        "--seconds", type=interval, default=3.0, metavar="TIME", help="length of a window (default 3s)"
    )
    parser.add_argument(
        "--fail-if-slower",
        type=_share,
        metavar="10%",
        help="exit with 1 if B is shown to be slower by more than this",
    )
    add_experiment_options(parser)
    options = parser.parse_args(argv)
    a, b = read_contestant(options.a), read_contestant(options.b)
    workload = Workload(seed=options.seed, corpus=options.corpus)
    workload.check()
    step = comparison_step(a, b, options.blocks, options.seconds)
    configuration: dict[str, object] = {"a": a.text, "b": b.text, "blocks": options.blocks}
    experiment = Experiment("compare", [step], workload, configuration)
    return conduct(experiment, options.results, partial(judge, a=a, b=b, limit=options.fail_if_slower))


def _share(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%?", text)
    if not match or not 0 <= float(match[1]) < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share such as 10%")
    return float(match[1]) / 100


if __name__ == "__main__":
    raise SystemExit(commands.main(["compare", *sys.argv[1:]]))
