"""Cost as work grows: more insults, subscribers, clients, nodes, requests; a curve each, and the memory."""

import sys

from harness.experiment.command import measure_shipped, names
from harness.experiment.session import middleware_names
from lab.cli import commands
from lab.options import Parser


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python3 -m lab growth", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all sizes, 7 blocks of windows of 5 s")
    parser.add_argument(
        "--only",
        dest="study",
        type=names,
        metavar="STUDY,STUDY",
        help="insults, subscribers, clients, nodes, requests made",
    )
    parser.add_argument("--middleware", dest="only", type=middleware_names, metavar="NAME,NAME")
    return measure_shipped("growth", parser, argv)


if __name__ == "__main__":
    raise SystemExit(commands.main(["growth", *sys.argv[1:]]))
