"""Stress one middleware: throughput over requests and over clients, its capacity, and response times."""

import argparse
import sys
from dataclasses import replace

from harness.experiment.command import add_load_options, add_run_options, filling, measure, shipped
from lab.cli import commands
from lab.contract import Application, Architecture
from lab.load.profiles import PROFILES
from lab.middleware import VARIANTS_HELP, middleware_name
from lab.options import Parser, as_written, interval

STUDIES = {
    "requests": ["requests", "pipelined", "accepted"],
    "clients": ["clients"],
    "capacity": ["capacity"],
}
"""By name: what is measured, as experiments/stress.yaml calls it."""
ALL = "all"
CALLERS = "32"
"""Of a plan, unless the command line says how many."""


def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    has_plan = bool(options.profile) or options.rate is not None
    if options.constant and not has_plan:
        parser.error("--constant is of a plan; give --rate or --profile, too")
    if options.study and has_plan:
        parser.error("--rate and --profile take the place of the studies; leave --study out")
    options.only = [options.middleware]
    chosen, options.study = options.study or ALL, []
    given = filling(options)
    load = dict(given.load)
    if options.application is Application.SERVICE:
        load["application"] = options.application
    if options.architecture:
        load["architecture"] = options.architecture
    if has_plan:
        return measure(
            _planned(options), "stress", options, replace(given, load={"clients": CALLERS, **load})
        )
    studies = [one for name, some in STUDIES.items() if chosen in (name, ALL) for one in some]
    if options.application is Application.SERVICE:  # it takes one request after the other, and answers each
        studies = [one for one in studies if one not in ("pipelined", "accepted")]
    given = replace(given, load=load, studies=studies, objective=options.objective or "")
    return measure(shipped("stress"), "stress", options, given)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python3 -m lab stress", description=__doc__)
    parser.add_argument("middleware", type=middleware_name, metavar="MIDDLEWARE", help=VARIANTS_HELP)
    parser.add_argument(
        "--study", choices=(*STUDIES, ALL), help="over requests, over clients, or capacity (default all)"
    )
    plan = parser.add_mutually_exclusive_group()
    plan.add_argument("--rate", metavar="PER_SECOND", help="instead: an open loop at this rate")
    plan.add_argument("--profile", choices=PROFILES, help="instead: an open loop that follows this profile")
    parser.add_argument("--constant", action="store_true", help="arrivals of a plan even, not Poisson")
    parser.add_argument(
        "--application", type=Application, choices=list(Application), default=Application.FILTER
    )
    parser.add_argument("--architecture", type=Architecture, choices=list(Architecture), help="default: both")
    parser.add_argument(
        "--objective",
        type=as_written(interval),
        metavar="TIME",
        help="p99 that a rate must keep (default 50ms)",
    )
    add_load_options(parser)
    add_run_options(parser, "--seconds")
    return parser


def _planned(options: argparse.Namespace) -> dict[str, object]:
    """Return the experiment of an open loop."""
    said = {"profile": options.profile} if options.profile else {"per second": options.rate}
    return {
        "question": "How long do requests take that are sent at planned times?",
        "over": {"middleware": "all", "architecture": [str(one) for one in Architecture]},
        "rate": {**said, "arrivals": "constant" if options.constant else "poisson"},
        "window": "4s",
        "blocks": "1",
    }


if __name__ == "__main__":
    raise SystemExit(commands.main(["stress", *sys.argv[1:]]))
