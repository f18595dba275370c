"""Stress one middleware: throughput over requests and over clients, its capacity, and response times."""

import argparse
import sys
from functools import partial

from harness.experiment.capacity import Objective
from harness.experiment.session import Experiment, Step, add_cluster_option, add_experiment_options, conduct
from harness.experiment.stress import (
    START_SECONDS,
    capacity_step,
    clients_step,
    planned,
    requests_step,
    system_step,
)
from harness.load.workload import Workload
from lab.cli import commands
from lab.contract import Application, Architecture
from lab.load.plans import Plan
from lab.load.profiles import PROFILES
from lab.middleware import VARIANTS_HELP, middleware_name
from lab.options import Parser, interval

STUDIES = ("requests", "clients", "capacity")
ALL = "all"


def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    has_plan = bool(options.profile) or options.rate is not None
    if options.constant and not has_plan:
        parser.error("--constant is of a plan; give --rate or --profile, too")
    if options.study and has_plan:
        parser.error("--rate and --profile take the place of the studies; leave --study out")
    options.study = options.study or ALL
    workload = Workload(options.application, options.seed, options.corpus)
    workload.check()
    architectures = [options.architecture] if options.architecture else list(Architecture)
    steps = [step for architecture in architectures for step in _steps(options, architecture)]
    configuration = {
        name: getattr(options, name) for name in ("middleware", "study", "seconds", "rate", "profile")
    }
    return conduct(
        Experiment("stress", steps, workload, configuration, cluster=options.cluster), options.results
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python3 -m lab stress", description=__doc__)
    parser.add_argument("middleware", type=middleware_name, metavar="MIDDLEWARE", help=VARIANTS_HELP)
    parser.add_argument(
        "--study", choices=(*STUDIES, ALL), help="over requests, over clients, or capacity (default all)"
    )
    plan = parser.add_mutually_exclusive_group()
    plan.add_argument("--rate", type=float, metavar="PER_SECOND", help="instead: an open loop at this rate")
    plan.add_argument("--profile", choices=PROFILES, help="instead: an open loop that follows this profile")
    parser.add_argument("--constant", action="store_true", help="arrivals of a plan even, not Poisson")
    parser.add_argument(
        "--application", type=Application, choices=list(Application), default=Application.FILTER
    )
    parser.add_argument("--architecture", type=Architecture, choices=list(Architecture), help="default: both")
    parser.add_argument(
        "--seconds", type=interval, default=4.0, metavar="TIME", help="length of a window (default 4s)"
    )
    parser.add_argument(
        "--objective",
        type=interval,
        default=0.05,
        metavar="TIME",
        help="p99 that a rate must keep (default 50ms)",
    )
    add_experiment_options(parser)
    add_cluster_option(parser)
    return parser


def _steps(options: argparse.Namespace, architecture: Architecture) -> list[Step]:
    middleware, window = options.middleware, options.seconds
    plan = _plan(options)
    if plan:
        measure = partial(planned, middleware=middleware, architecture=architecture, plan=plan)
        return [system_step("plan", middleware, architecture, START_SECONDS + plan.duration_seconds, measure)]
    one_by_one = {
        "requests": requests_step(middleware, architecture, window),
        "clients": clients_step(middleware, architecture, window),
        "capacity": capacity_step(middleware, architecture, Objective(options.objective * 1000, window)),
    }
    return [step for study, step in one_by_one.items() if options.study in (study, ALL)]


def _plan(options: argparse.Namespace) -> Plan | None:
    is_random = not options.constant
    if options.profile:
        profile = PROFILES[options.profile]()
        return Plan.following(profile, profile.duration_seconds, options.seed, is_random)
    if options.rate is None:
        return None
    if is_random:
        return Plan.poisson(options.rate, options.seconds, options.seed)
    return Plan.constant(options.rate, options.seconds)


if __name__ == "__main__":
    raise SystemExit(commands.main(["stress", *sys.argv[1:]]))
