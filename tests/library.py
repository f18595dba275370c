"""How much of a filter call lies in the middleware's library, for each variant: by calls and by CPU time."""

import sys

from harness.experiment.library import library_step
from harness.experiment.session import Experiment, add_results_option, conduct, middleware_names
from harness.load.workload import Workload
from lab.cli import commands
from lab.middleware import VARIANTS
from lab.options import Parser, interval


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python3 -m lab library", description=__doc__)
    parser.add_argument(
        "--only",
        type=middleware_names,
        default=list(VARIANTS),
        metavar="A,B:stock",
        help="only these variants",
    )
    parser.add_argument("--seconds", type=interval, default=2.0, metavar="TIME", help="of sampling (2s)")
    add_results_option(parser)
    options = parser.parse_args(argv)
    steps = [library_step(name, options.seconds) for name in options.only]
    configuration: dict[str, object] = {"only": options.only, "seconds": options.seconds}
    experiment = Experiment("library", steps, Workload(), configuration, keeps_raw=False)
    return conduct(experiment, options.results)


if __name__ == "__main__":
    raise SystemExit(commands.main(["library", *sys.argv[1:]]))
