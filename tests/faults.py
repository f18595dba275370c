"""Break the four middlewares under load, and account for every request.

Each scenario injects faults (kill -9, frozen nodes, brokers killed, replies lost, malformed input ...) while
clients send; then every acknowledged request is looked for. Only private brokers are touched. A trial prints
its figures, its seed and PASS or FAIL against its bar. A stock variant promises little: what it loses,
doubles or hangs is a RESULT, not a failure.
"""

import argparse
import sys

from harness.experiment.session import add_results_option, add_seed_option, middleware_names
from harness.faults.rig import Scenario, Size
from harness.faults.scenarios.session import SCENARIOS, Order, conduct
from lab.cli import commands
from lab.middleware import MIDDLEWARES, VARIANTS_HELP
from lab.options import Parser, interval


def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    if options.middlewares and options.only:
        parser.error("NAMES and --only are the same; give one of them")
    middlewares = options.middlewares or options.only or list(MIDDLEWARES)
    size = Size.FULL if options.full else Size.REDUCED
    soak_seconds = options.soak or 0.0
    order = Order(options.scenario, middlewares, options.seed, size, options.results, soak_seconds)
    return conduct(order)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python3 -m lab faults",
        description=__doc__,
        epilog=_list(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = f"middlewares, comma-separated (default: {','.join(MIDDLEWARES)}); {VARIANTS_HELP}"
    parser.add_argument("middlewares", nargs="?", type=middleware_names, metavar="NAMES", help=names)
    parser.add_argument("--only", type=middleware_names, metavar="NAMES", help="the same as an option")
    parser.add_argument(
        "--scenario",
        type=_scenarios,
        default=list(SCENARIOS.values()),
        metavar="NAMES",
        help="scenarios, comma-separated (default: all)",
    )
    parser.add_argument("--full", action="store_true", help="the sizes that are promised: about 80 minutes")
    parser.add_argument(
        "--soak",
        type=interval,
        metavar="TIME",
        help="instead: all side by side for this time, such as 30m, a fault every 30 s; tells what grows",
    )
    add_seed_option(parser, "of faults and texts (default 1)")
    add_results_option(parser)
    return parser


def _list() -> str:
    return "\n".join(
        ["scenarios:", *(f"  {scenario.name:15} {scenario.promise}" for scenario in SCENARIOS.values())]
    )


def _scenarios(text: str) -> list[Scenario]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in SCENARIOS:
            raise argparse.ArgumentTypeError(f"no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    return [SCENARIOS[name] for name in names]


if __name__ == "__main__":
    raise SystemExit(commands.main(["faults", *sys.argv[1:]]))
