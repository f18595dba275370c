"""Compare A with B: both measured in alternating blocks of fresh processes, paired, with a noise floor.

A and B are a middleware, perhaps with options: `redis_impl rabbitmq`, `rabbitmq rabbitmq:prefetch=1`,
`xmlrpc xmlrpc:nodes=3,in_flight=50`. While the verdict is undecided, blocks are added until the budget ends.
With `--rev OLD --rev NEW`, the sides are two revisions of A, or of all four if none is named. With one --rev,
the second is the code as it is, with changes that are not committed.
Exit codes: 0 decided, 1 shown to be slower than asked for, 3 undecided.
"""

import argparse
import re
import sys
from dataclasses import replace

from harness.experiment.command import add_load_options, add_run_options, filling, measure, shipped
from lab.cli import commands
from lab.middleware import MIDDLEWARES
from lab.options import Parser


def main(argv: list[str] | None = None) -> int:
    parser = Parser(
        prog="python3 -m lab compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", metavar="A", nargs="?", help="a middleware, perhaps with options")
    parser.add_argument("b", metavar="B", nargs="?", help="the same; not needed with --rev")
    parser.add_argument(
        "--rev",
        action="append",
        default=[],
        metavar="REVISION",
        help="code of this commit, branch or tag; once for A, once for B",
    )
    parser.add_argument(
        "--fail-if-slower",
        type=_share,
        metavar="10%",
        help="exit with 1 if B is shown to be slower by more than this",
    )
    add_load_options(parser)
    add_run_options(parser)
    options = parser.parse_args(argv)
    if len(options.rev) > 2:
        parser.error("--rev: give one or two revisions")
    if not options.b and not options.rev:
        parser.error("give A and B, or --rev OLD --rev NEW")
    fields: dict[str, object] = {}
    if options.fail_if_slower is not None:
        fields["expect"] = {"ratio": f"> {1 - options.fail_if_slower:g}"}
    named = [options.a] if options.a else list(MIDDLEWARES)
    parts = [{"compare": _sides(a, options.b or a, options.rev)} for a in named]
    given = replace(filling(options, **fields), parts=parts)
    return measure(shipped("compare"), "compare", options, given)


def _sides(a: str, b: str, revisions: list[str]) -> list[str]:
    """Return both sides as experiments name them, each at its revision."""
    found = [a, b]
    for place, revision in enumerate(revisions):
        comma = "," if {":", ","} & set(found[place]) else ":"
        found[place] += f"{comma}revision={revision}"
    return found


def _share(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%?", text)
    if not match or not 0 <= float(match[1]) < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share such as 10%")
    return float(match[1]) / 100


if __name__ == "__main__":
    raise SystemExit(commands.main(["compare", *sys.argv[1:]]))
