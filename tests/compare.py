"""Compare A with B: both measured in alternating blocks of fresh processes, paired, with a noise floor.

A and B are a middleware, perhaps with options: `redis_impl rabbitmq`, `rabbitmq rabbitmq:prefetch=1`,
`xmlrpc xmlrpc:nodes=3,in_flight=50`.
"""

import argparse
import re
import sys
from functools import partial

from harness.analysis.verdicts import FEWEST_BLOCKS, comparison_of
from harness.experiment.session import (
    FAILED,
    GOOD,
    Experiment,
    Step,
    add_experiment_options,
    conduct,
    count,
    needs,
)
from harness.experiment.versus import Side, read_side, versus
from harness.load.workload import Workload
from harness.record.run import Run
from harness.report.conclusions import sentence
from harness.statistics import slower_than
from lab.cli import commands
from lab.cli.brokers import say
from lab.options import Parser, interval

START_SECONDS = 4.0


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
    a, b = read_side(options.a), read_side(options.b)
    workload = Workload(seed=options.seed, corpus=options.corpus)
    workload.check()
    step = Step(
        f"compare {a.text} with {b.text}",
        options.blocks * (START_SECONDS + 3 * options.seconds),
        needs(a.middleware, a.architecture) | needs(b.middleware, b.architecture),
        partial(versus, a=a, b=b, blocks=options.blocks, window_seconds=options.seconds),
    )
    configuration: dict[str, object] = {"a": a.text, "b": b.text, "blocks": options.blocks}
    experiment = Experiment("compare", [step], workload, configuration)
    return conduct(experiment, options.results, partial(_judge, a=a, b=b, limit=options.fail_if_slower))


def _judge(run: Run, a: Side, b: Side, limit: float | None) -> int:
    comparison = comparison_of(run)
    if comparison is None:
        say(f"no verdict: fewer than {FEWEST_BLOCKS} blocks are whole and valid; repeat with more --blocks")
        return FAILED
    say(sentence(comparison, a.text, b.text))
    return FAILED if limit is not None and slower_than(comparison, limit) else GOOD


def _share(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%?", text)
    if not match or not 0 <= float(match[1]) < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share such as 10%")
    return float(match[1]) / 100


if __name__ == "__main__":
    raise SystemExit(commands.main(["compare", *sys.argv[1:]]))
