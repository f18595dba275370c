"""What each setting costs: one change at a time from the default, the same load, with intervals.

Each change is measured in the same blocks as the default. --only takes middlewares, settings and values:
`xmlrpc,rabbitmq:prefetch,redis_impl:guarantee=nothing kept`.
"""

import argparse
import sys

from harness.experiment.command import measure_shipped, names
from lab.cli import commands
from lab.options import Parser


def main(argv: list[str] | None = None) -> int:
    parser = Parser(
        prog="python3 -m lab settings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--full", action="store_true", help="7 blocks of windows of 5 s")
    parser.add_argument(
        "--only",
        type=names,
        metavar="WHAT,WHAT",
        help="MIDDLEWARE, MIDDLEWARE:SETTING or MIDDLEWARE:SETTING=VALUE",
    )
    return measure_shipped("settings", parser, argv)


if __name__ == "__main__":
    raise SystemExit(commands.main(["settings", *sys.argv[1:]]))
