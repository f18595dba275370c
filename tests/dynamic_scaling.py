"""Dynamic scaling: policies under the same load, on real RabbitMQ and in the simulator, scored and drawn."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from dynamic.policies import POLICIES, add_price_option, chosen
from dynamic.pool.client import MOST_WORKERS as MOST
from dynamic.simulator.benchmark import SIMULATED
from harness.experiment.scaling import (
    DEFAULT_POLICIES,
    ScalingLoad,
    calibrate,
    scaling_step,
    setting_of,
    table_steps,
)
from harness.experiment.session import Experiment, add_experiment_options, conduct, count
from harness.load.workload import Workload
from lab.cli import commands
from lab.load.profiles import Profile, from_trace
from lab.options import Parser, as_written, interval, positive, whole_number
from lab.process.launcher import usable_cores

BURSTS_WORK = "20ms"
"""For `bursts`, whose rates are those of the classic run: three publishers of 285/s keep 17 workers busy."""
TABLE_TRIALS = 5
TOLD = ("policy", "profile", "work_time", "work_cpu", "min", "max", "misjudged", "trials")


def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    for name in ("speed", "scale"):
        if getattr(options, name) != 1 and not options.trace:
            parser.error(f"--{name} is of a trace; give --trace, too")
    workload = Workload(seed=options.seed, corpus=options.corpus)
    workload.check()
    for policy in options.policy:
        chosen(policy)
    loads = _loads(options)
    if options.calibrate or options.export:
        return calibrate(loads[0], workload, as_export=bool(options.export))
    if options.table:
        trace = loads[0].setting.profile if options.trace else None
        steps = table_steps(trace, options.trials or TABLE_TRIALS, options.seed)
    else:
        steps = [scaling_step(options.policy, load) for load in loads]
    told = ("table", "trials") if options.table else TOLD
    configuration: dict[str, object] = {name: getattr(options, name) for name in told}
    if options.trace:
        configuration["profile"] = f"{options.trace.name}, {options.speed:g} times faster"
    return conduct(Experiment("dynamic", steps, workload, configuration), options.results)


def _loads(options: argparse.Namespace) -> list[ScalingLoad]:
    if options.trace:
        profiles = [from_trace(options.trace, options.speed, options.scale)]
    else:
        profiles = [SIMULATED[name](options.seed) for name in options.profile]
    if options.seconds is not None:
        profiles = [profile.lasting(options.seconds) for profile in profiles]
    return [_load(profile, options) for profile in profiles]


def _load(profile: Profile, options: argparse.Namespace) -> ScalingLoad:
    usual = BURSTS_WORK if profile.name == "bursts" else "100ms"
    work = ("--work-time", options.work_time or usual)
    if options.work_cpu:
        work = ("--work-cpu", options.work_cpu)
    setting = replace(
        setting_of(profile, options.min, options.max, options.seed), start_price=options.start_price
    )
    if options.work_cpu:
        setting = replace(setting, cores=usable_cores())
    return ScalingLoad(setting, work, options.misjudged, options.together, trials=options.trials or 1)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python3 -m lab dynamic", description=__doc__)
    parser.add_argument(
        "--policy",
        type=lambda text: list(dict.fromkeys(text.split(","))),
        default=list(DEFAULT_POLICIES),
        metavar="A,B",
        help=f"of {', '.join(POLICIES)}; settings after colons: static:workers=20 "
        f"(default {','.join(DEFAULT_POLICIES)})",
    )
    _add_load_options(parser)
    parser.add_argument("--min", type=whole_number(0, MOST), default=1, help="fewest workers (default 1)")
    parser.add_argument("--max", type=whole_number(1, MOST), default=50, help="most workers (default 50)")
    parser.add_argument(
        "--misjudged",
        type=positive("a factor"),
        default=1.0,
        metavar="FACTOR",
        help="tell the policies a C that is wrong by this factor, such as 1.3 or 0.7 (default 1)",
    )
    parser.add_argument(
        "--together", action="store_true", help="all policies at the same time, each its own system"
    )
    parser.add_argument("--trials", type=count, help="runs of each policy (default 1; --table: 5)")
    parser.add_argument(
        "--table",
        action="store_true",
        help="instead of --policy and --profile: the table of docs/policies.md, in 18 minutes",
    )
    add_price_option(parser)
    only = parser.add_mutually_exclusive_group()
    only.add_argument(
        "--export",
        choices=["keda"],
        help="only measure C and the start-up time, and print a ScaledObject for Kubernetes",
    )
    only.add_argument("--calibrate", action="store_true", help="only measure C, and print it")
    add_experiment_options(parser)
    return parser


def _add_load_options(parser: argparse.ArgumentParser) -> None:
    load = parser.add_mutually_exclusive_group()
    load.add_argument(
        "--profile",
        type=_profiles,
        default=["step"],
        metavar="A,B",
        help=f"loads, of {', '.join(SIMULATED)} (default step)",
    )
    load.add_argument("--trace", type=Path, metavar="FILE", help="instead: a CSV file of timestamp,value")
    parser.add_argument("--speed", type=float, default=1.0, help="of the trace: so many times faster")
    parser.add_argument("--scale", type=float, default=1.0, help="of the trace: so many times as many")
    parser.add_argument("--seconds", type=interval, metavar="TIME", help="the whole load in so much time")
    work = parser.add_mutually_exclusive_group()
    usual = f"default 100ms; bursts: {BURSTS_WORK}"
    for option, what in (("--work-time", f"a worker waits so long ({usual})"), ("--work-cpu", "or computes")):
        work.add_argument(option, type=as_written(interval), metavar="TIME", help=what)


def _profiles(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in SIMULATED:
            raise argparse.ArgumentTypeError(f"no profile {name!r}; there are {', '.join(SIMULATED)}")
    return names


if __name__ == "__main__":
    raise SystemExit(commands.main(["dynamic", *sys.argv[1:]]))
