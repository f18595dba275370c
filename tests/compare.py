"""Compare A with B: both measured in alternating blocks of fresh processes, paired, with a noise floor.

A and B are a middleware, perhaps with options: `redis_impl rabbitmq`, `rabbitmq rabbitmq:prefetch=1`,
`xmlrpc xmlrpc:nodes=3,in_flight=50`. While the verdict is undecided, blocks are added until the budget ends.
Exit codes: 0 decided, 1 shown to be slower than asked for, 3 undecided.
"""

import argparse
import re
import sys

from harness.experiment.command import add_load_options, add_run_options, filling, measure, shipped
from lab.cli import commands
from lab.options import Parser


def main(argv: list[str] | None = None) -> int:
    parser = Parser(
        prog="python3 -m lab compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument(
        "--fail-if-slower",
        type=_share,
        metavar="10%",
        help="exit with 1 if B is shown to be slower by more than this",
    )
    add_load_options(parser)
    add_run_options(parser)
    options = parser.parse_args(argv)
    fields: dict[str, object] = {"compare": [options.a, options.b]}
    if options.fail_if_slower is not None:
        fields["expect"] = {"ratio": f"> {1 - options.fail_if_slower:g}"}
    return measure(shipped("compare"), "compare", options, filling(options, **fields))


def _share(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%?", text)
    if not match or not 0 <= float(match[1]) < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share such as 10%")
    return float(match[1]) / 100


if __name__ == "__main__":
    raise SystemExit(commands.main(["compare", *sys.argv[1:]]))
