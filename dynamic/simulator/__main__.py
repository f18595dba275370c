"""Compare policies on a simulated load: a table of scores. See dynamic/simulator/simulation.py."""

import argparse
import json
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console

from dynamic.policies import POLICIES, Policy, chosen
from dynamic.policies.sample import START_PRICE
from dynamic.simulator.benchmark import SIMULATED, Scores, score_table
from dynamic.simulator.optimum import optimum
from dynamic.simulator.queueing import SPREADS, Times
from dynamic.simulator.simulation import Setting, arrivals_of, simulate
from lab.bootstrap import run_program
from lab.errors import Code, InvalidRequest
from lab.load.profiles import from_trace
from lab.options import Parser, duration, interval, positive

MOST_EVENTS = 500_000
"""Of a run whose optimum is computed."""


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        setting = _setting(options)
        policies = {name: chosen(name) for name in options.policy.split(",")}
        begin = time.monotonic()
        scores = compared(policies, setting)
        seconds = time.monotonic() - begin
    except InvalidRequest as error:
        print(f"dynamic.simulator: {error.message}", file=sys.stderr)
        return 2
    if options.json:
        about = {"profile": setting.profile.name, "description": setting.profile.description}
        found = {name: asdict(one) for name, one in scores.items()}
        speed = {"simulated_in_seconds": seconds, "readings": setting.readings}
        print(json.dumps({**about, "seed": setting.seed, **speed, "policies": found}, indent=2))
    else:
        _print(setting, scores, seconds)
    return 0


def compared(policies: dict[str, Policy], setting: Setting) -> dict[str, Scores]:
    """Return the scores of *policies*, all with the same events."""
    events = len(arrivals_of(setting))
    least = optimum(setting) if events <= MOST_EVENTS else None
    return {name: simulate(policy, setting, keep=False).scores(least) for name, policy in policies.items()}


def _setting(options: argparse.Namespace) -> Setting:
    if options.seed < 0:
        raise InvalidRequest(Code.MALFORMED, f"a seed must be a whole number from 0 on, got {options.seed}")
    if options.trace:
        profile = from_trace(options.trace, options.speed, options.scale)
    else:
        profile = SIMULATED[options.profile](options.seed)
    drift_at = options.drift_at
    if drift_at is None and profile.name == "drift":
        drift_at = 60.0
    return Setting(
        profile,
        work=Times(options.work_time, options.work_spread),
        start=Times(options.start_time, options.start_spread),
        min_workers=options.min,
        max_workers=options.max,
        interval_seconds=options.interval,
        phase_seconds=options.phase,
        declared_rate=options.declared_rate,
        drift_at=drift_at,
        drift=options.drift,
        cores=options.work_cores,
        seed=options.seed,
        start_price=options.start_price,
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m dynamic.simulator",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    load = parser.add_mutually_exclusive_group()
    load.add_argument("--profile", choices=SIMULATED, default="step", help="the load")
    load.add_argument("--trace", type=Path, metavar="FILE", help="the load: a CSV file of timestamp,value")
    add("--speed", type=float, default=1.0, help="of the trace: so many times faster")
    add("--scale", type=float, default=1.0, help="of the trace: so many times as many requests")
    policies = f"one or more, with commas, of {', '.join(POLICIES)}; settings after colons: static:workers=20"
    add("--policy", default="adaptive,assignment", help=policies)
    add_time = partial(add, metavar="TIME")
    add_time("--work-time", type=interval, default="100ms", help="mean work time of an event")
    add("--work-spread", choices=SPREADS, default="constant", help="distribution of work times")
    add_time("--start-time", type=duration, default="15ms", help="until a worker takes events")
    add("--start-spread", choices=SPREADS, default="constant", help="distribution of start times")
    add("--min", type=int, default=1, help="fewest workers")
    add("--max", type=int, default=50, help="most workers")
    add_time("--interval", type=interval, default="2s", help="between two readings")
    add(
        "--declared-rate", type=float, help="C, messages/s of a worker, as policies are told; none: the truth"
    )
    add_time("--phase", type=duration, default="0s", help="from a multiple of --interval to a reading")
    add_time(
        "--drift-at", type=interval, help="when workers get slower; none: only in the profile drift, at 60s"
    )
    add("--drift", type=float, default=2.0, help="how many times slower they get")
    add("--work-cores", type=int, default=0, help="processors that the work needs; 0: it only waits")
    add(
        "--start-price",
        type=positive("a price, in worker-seconds,", zero=True),
        default=START_PRICE,
        help="what a start costs, in worker-seconds",
    )
    add("--seed", type=int, default=1, help="of arrivals, of work times, and of the profile noisy")
    add("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _print(setting: Setting, scores: dict[str, Scores], seconds: float) -> None:
    profile, events = setting.profile, next(iter(scores.values())).events
    how = f"{profile.duration_seconds:,.0f} s, {events:,} events, seed {setting.seed}"
    runs = len(scores)
    title = f"Simulated: {profile.name} ({profile.description}), {how}"
    Console().print(score_table(title, list(scores.items())))
    speeds = (
        f"{runs * events / seconds:,.0f} events/s and {runs * setting.readings / seconds:,.0f} readings/s"
    )
    print(f"{runs} runs and the optimum took {seconds:.2f} s: {speeds}")


if __name__ == "__main__":
    raise SystemExit(run_program(main))
