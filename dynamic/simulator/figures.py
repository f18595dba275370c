"""Judge policies by what is asked of `adaptive`: the worst of each figure over seeds and phases."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from inspect import signature
from itertools import product

from rich.console import Console
from rich.table import Table

from dynamic.policies import POLICIES, Policy, chosen
from dynamic.simulator.profiles import SIMULATED
from dynamic.simulator.queueing import SPREADS, Times
from dynamic.simulator.scores import Scores
from dynamic.simulator.simulation import Run, Setting, simulate
from lab.bootstrap import run_program
from lab.errors import InvalidRequest
from lab.load.profiles import Profile
from lab.options import Parser

PHASES = (0.0, 0.5, 1.0, 1.5)
WRONG = (0.7, 1.3)
"""Of the true rate of a worker, what a wrong calibration says."""
STEP_AT, SPIKE_END = 40.0, 50.0
BURSTS_WORK = 0.05
"""Seconds: 855 messages/s are more than 50 workers can do at 100 ms."""
BARS = {
    "step late %": 0.5,
    "enough after s": 2.5,
    "decisions": 3,
    "spike late %": 2.0,
    "back after s": 15,
    "noisy actions": 2 / 3,
    "reversals": 5,
    "drift late %": 0.5,
    "cost": 1.7,
    "wrong C late": 0.1,
    "wrong C cost %": 5,
}
"""The figures and the most that each may be."""


@dataclass
class Found:
    """Values of each figure, one for every run that has it."""

    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in BARS})

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self.values[name.replace("_", " ").replace(" percent", " %")].append(value)

    def cells(self) -> Iterator[str]:
        """Yield the worst of each, and in how many runs it is beyond the bar if in any."""
        for name, bar in BARS.items():
            bad = sum(value > bar for value in self.values[name])
            worst = f"{max(self.values[name]):.3g}"
            yield f"{worst} ({bad} of {len(self.values[name])})" if bad else worst


def judged(policy: Policy, spread: str, seeds: Iterable[int]) -> Found:
    """Return what *policy* reaches on all profiles, *seeds* and PHASES with work times of *spread*."""
    found = Found()
    for name, seed, phase in product(SIMULATED, seeds, PHASES):
        setting = _setting(name, seed, phase, spread)
        run = simulate(policy, setting)
        scores = run.scores(_best(name, seed, phase, spread))
        found.add(cost=scores.over_oracle or 0.0)
        if name in ("step", "spike", "noisy", "drift"):
            _add_profile(found, name, run, scores)
            _add_wrong(found, policy, setting, scores)
    return found


def _add_profile(found: Found, name: str, run: Run, scores: Scores) -> None:
    readings = list(zip((sample.time for sample in run.samples), run.wanted, strict=True))
    if name == "step":
        need = int(run.setting.need().values[-1])
        after = [wanted for time, wanted in readings if time > STEP_AT]
        decisions = next((at for at, wanted in enumerate(after, 1) if abs(wanted - need) <= 1), len(after))
        found.add(step_late_percent=scores.late_percent, decisions=decisions)
        found.add(enough_after_s=round(scores.reaction_seconds or 99.0, 1))
    elif name == "spike":
        base = max(wanted for time, wanted in readings if 10 <= time <= STEP_AT)
        back = next((time for time, wanted in readings if time > SPIKE_END and wanted <= base), 999.0)
        found.add(spike_late_percent=scores.late_percent, back_after_s=back - SPIKE_END)
    elif name == "noisy":
        others = simulate(chosen("assignment"), run.setting).scores().actions
        found.add(reversals=scores.reversals, noisy_actions=scores.actions / others)
    else:
        found.add(drift_late_percent=scores.late_percent)


def _add_wrong(found: Found, policy: Policy, setting: Setting, right: Scores) -> None:
    for share in WRONG:
        wrong = simulate(policy, replace(setting, declared_rate=share * setting.service_rate_at(0))).scores()
        cost = 100 * abs(wrong.worker_seconds / right.worker_seconds - 1)
        found.add(wrong_C_late=abs(wrong.late_percent - right.late_percent), wrong_C_cost_percent=cost)


@cache
def _profile(name: str, seed: int) -> Profile:
    return SIMULATED[name](seed)


@cache
def _best(name: str, seed: int, phase: float, spread: str) -> Run:
    return simulate(chosen("oracle"), _setting(name, seed, phase, spread))


def _setting(name: str, seed: int, phase: float, spread: str) -> Setting:
    work = Times(BURSTS_WORK if name == "bursts" else 0.1, spread)
    drift_at = 60.0 if name == "drift" else None
    return Setting(_profile(name, seed), work=work, phase_seconds=phase, drift_at=drift_at, seed=seed)


def _variants() -> list[str]:
    """Return `adaptive`, and with each of its constants halved and doubled."""
    constants = {key: how.default for key, how in signature(POLICIES["adaptive"]).parameters.items()
                 if how.kind is how.KEYWORD_ONLY}  # fmt: skip
    changed = [f"adaptive:{key}={value * by:g}" for key, value in constants.items() for by in (0.5, 2)]
    return ["adaptive", *changed]


def main(argv: list[str] | None = None) -> int:
    parser = Parser(
        "python -m dynamic.simulator.figures",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--policy", default="adaptive,assignment", help="one or more, with commas")
    add(
        "--sensitivity",
        action="store_true",
        help="instead: adaptive, each of its constants halved and doubled",
    )
    add("--seeds", type=int, default=10, help="so many, from 1 on")
    add("--work-spread", choices=SPREADS, default="constant", help="distribution of work times")
    options = parser.parse_args(argv)
    names = _variants() if options.sensitivity else options.policy.split(",")
    try:
        policies = {name: chosen(name) for name in names}
    except InvalidRequest as error:
        print(f"dynamic.simulator.figures: {error.message}", file=sys.stderr)
        return 2
    if options.seeds < 1:
        print(f"dynamic.simulator.figures: seeds must be 1 or more, got {options.seeds}", file=sys.stderr)
        return 2
    _print(policies, options.work_spread, range(1, options.seeds + 1))
    return 0


def _print(policies: dict[str, Policy], spread: str, seeds: range) -> None:
    how = f"worst of seeds 1-{seeds[-1]}, phases {PHASES} s, work times {spread}; (runs beyond the bar)"
    table = Table("", *policies, title=f"Simulated: {how}")
    if len(policies) > 4:  # many policies: a row each
        table = Table("", *BARS, title=f"Simulated: {how}")
        table.add_row("at most", *(f"{bar:.3g}" for bar in BARS.values()))
        for name, policy in policies.items():
            table.add_row(name, *judged(policy, spread, seeds).cells())
    else:
        columns = [judged(policy, spread, seeds).cells() for policy in policies.values()]
        for (name, bar), *cells in zip(BARS.items(), *columns, strict=True):
            table.add_row(f"{name} <= {bar:.3g}", *cells)
    Console().print(table)


if __name__ == "__main__":
    raise SystemExit(run_program(main))
