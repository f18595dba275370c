"""Judge policies on the families of traces: late events, cost over the optimum and actions, all simulated.

The tables of docs/policies.md are what this prints. ``--sensitivity`` varies each constant of `adaptive`.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from inspect import signature
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from dynamic.policies import POLICIES, chosen
from dynamic.simulator.benchmark import FAMILIES, TRAINING
from dynamic.simulator.optimum import optimum
from dynamic.simulator.queueing import Times
from dynamic.simulator.simulation import Setting, simulate
from lab.bootstrap import run_program
from lab.errors import Code, InvalidRequest
from lab.load.profiles import Profile, from_trace
from lab.options import Parser

PRICES = (0.0, 2.0, 10.0)
STARTS = (0.015, 0.4)
WORK_SPREADS = ("constant", "exponential")
RIVALS = ("assignment", "assignment:hold=4", "assignment:hold=8", "assignment:hold=20", "rate")
"""`adaptive` is compared with the cheapest of these that is at most LATE_POINTS later."""
STEADIER = "assignment:hold=8"
"""It should have at most the late events, the worker-seconds and the actions of this one."""
OTHERS = ("hpa:faster=10", "hpa:faster=10:per_second=8", "reference")
LATE_POINTS = 0.05
TRACE_PART_SECONDS, TRACE_SPEED, TRACE_RATE = 600.0, 75.0, 70.0
"""A trace of five-minute counts becomes one of four-second counts, cut into parts of ten minutes, of this
mean rate."""


class Outcome(NamedTuple):
    """What a policy did in one run."""

    late_percent: float
    worker_seconds: float
    starts: int
    actions: int

    def total(self, price: float) -> float:
        """Return worker-seconds and the price of the starts."""
        return self.worker_seconds + price * self.starts


def settings_of(profile: Profile, seed: int) -> Iterator[Setting]:
    """Yield the settings in which policies are judged on *profile*."""
    for start, spread in product(STARTS, WORK_SPREADS):
        yield Setting(profile, work=Times(0.1, spread), start=Times(start), seed=seed)


@cache
def outcome(policy: str, setting: Setting) -> Outcome:
    """Return what *policy* does."""
    run = simulate(chosen(policy), setting, keep=False)
    scores = run.scores()
    return Outcome(scores.late_percent, scores.worker_seconds, scores.starts, scores.actions)


@cache
def least_cost(setting: Setting) -> float:
    """Return the optimum's worker-seconds, starts being free."""
    return optimum(replace(setting, start_price=0.0))


def over_rivals(policy: str, setting: Setting, price: float) -> float:
    """Return the total cost over that of the cheapest rival that is about as punctual."""
    own = outcome(policy, replace(setting, start_price=price))
    rivals = [outcome(name, setting) for name in RIVALS]
    punctual = [one.total(price) for one in rivals if one.late_percent <= own.late_percent + LATE_POINTS]
    return own.total(price) / min(punctual) if punctual else 1.0


def is_steadier(policy: str, setting: Setting) -> bool:
    """Tell whether *policy* has at most the late events, worker-seconds and actions of STEADIER."""
    own, other = outcome(policy, setting), outcome(STEADIER, setting)
    pairs = zip((own[0], own[1], own[3]), (other[0], other[1], other[3]), strict=True)
    return all(mine <= its + 1e-9 for mine, its in pairs)


def cut_trace(path: Path, part: int) -> Profile:
    """Return ten minutes of the trace in *path*, from *part* times ten minutes on."""
    whole = from_trace(path, TRACE_SPEED, 1.0)
    begin = part * TRACE_PART_SECONDS
    inside = [(at - begin, rate) for at, rate in zip(whole.starts, whole.rates, strict=True) if at >= begin]
    inside = [(at, rate) for at, rate in inside if at < TRACE_PART_SECONDS]
    factor = TRACE_RATE / fmean(rate for _, rate in inside)
    rates = tuple(min(420.0, rate * factor) for _, rate in inside)
    return Profile(
        "trace", f"{path.name}, part {part}", tuple(at for at, _ in inside), rates, TRACE_PART_SECONDS
    )


def judged(traces: Mapping[str, list[Setting]], policies: Iterable[str], with_optimum: bool) -> Table:
    """Return a table of policies on traces: late %, cost over the optimum, actions."""
    table = Table("late %, worker-seconds over the optimum, actions", *policies)
    for name, settings in traces.items():
        cells = []
        for policy in policies:
            found = [outcome(policy, setting) for setting in settings]
            late, actions = fmean(one.late_percent for one in found), fmean(one.actions for one in found)
            best = (
                least_cost(one) if with_optimum else outcome("assignment", one).worker_seconds
                for one in settings
            )
            cost = fmean(one.worker_seconds / least for one, least in zip(found, best, strict=True))
            cells.append(f"{late:.2f}  {cost:.2f}  {actions:.0f}")
        table.add_row(name, *cells)
    return table


def compared(traces: Mapping[str, list[Setting]], policies: Iterable[str]) -> Table:
    """Return a table of totals over the cheapest rival's, for each price: the mean and the highest."""
    table = Table(
        "total over the cheapest rival's",
        *(f"price {price:g}: mean, highest" for price in PRICES),
        f"steadier than {STEADIER}",
    )
    settings = [setting for part in traces.values() for setting in part]
    for policy in policies:
        cells = []
        for price in PRICES:
            ratios = [over_rivals(policy, setting, price) for setting in settings]
            cells.append(f"{fmean(ratios):.3f}  {max(ratios):.3f}")
        steadier = sum(is_steadier(policy, setting) for setting in settings)
        table.add_row(policy, *cells, f"{steadier} of {len(settings)}")
    return table


def _variants() -> list[str]:
    """Return `adaptive`, and with each of its constants halved and doubled."""
    parameters = signature(POLICIES["adaptive"]).parameters.items()
    constants = {key: how.default for key, how in parameters if how.kind is how.KEYWORD_ONLY}
    changed = [f"adaptive:{key}={value * by:g}" for key, value in constants.items() for by in (0.5, 2)]
    return ["adaptive", *changed]


def main(argv: list[str] | None = None) -> int:
    parser = Parser("python -m dynamic.simulator.figures", description=__doc__)
    add = parser.add_argument
    add("--policy", default=",".join(("adaptive", *RIVALS, *OTHERS)), help="one or more, with commas")
    add("--sensitivity", action="store_true", help="instead: adaptive with each constant halved and doubled")
    add("--training", action="store_true", help="on the families on which the constants were chosen")
    add("--trace", type=Path, metavar="FILE", help="also parts of a CSV file of timestamp,value")
    add("--first-seed", type=int, default=11, help="the first seed (default 11: the constants saw 1 to 3)")
    add("--seeds", type=int, default=2, help="so many (default 2)")
    options = parser.parse_args(argv)
    policies = _variants() if options.sensitivity else options.policy.split(",")
    try:
        if options.seeds < 1 or options.first_seed < 1:
            raise InvalidRequest(Code.MALFORMED, "seeds must be 1 or more")
        for policy in policies:
            chosen(policy)
        traces = _traces(options)
    except InvalidRequest as error:
        print(f"dynamic.simulator.figures: {error.message}", file=sys.stderr)
        return 2
    console = Console(width=200) if not sys.stdout.isatty() else Console()
    if not options.sensitivity:
        console.print(judged(traces, policies, with_optimum=True))
    console.print(compared(traces, policies if options.sensitivity else policies[:1]))
    return 0


def _traces(options: argparse.Namespace) -> dict[str, list[Setting]]:
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    names = [name for name in FAMILIES if (name in TRAINING) == options.training]
    traces = {
        name: [one for seed in seeds for one in settings_of(FAMILIES[name](seed), seed)] for name in names
    }
    if options.trace:
        parts = [(cut_trace(options.trace, seed - options.first_seed), seed) for seed in seeds]
        traces[options.trace.stem] = [one for profile, seed in parts for one in settings_of(profile, seed)]
    return traces


if __name__ == "__main__":
    raise SystemExit(run_program(main))
