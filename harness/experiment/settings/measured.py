"""Measure changes one by one, each in alternating windows with the default."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from harness.analysis.validity import FEWEST_REQUESTS, MOST_GENERATOR_CPU
from harness.experiment.bench import Bench
from harness.experiment.session import Step
from harness.experiment.settings.sides import Sides
from harness.experiment.settings.table import DEFAULTS, Change
from harness.experiment.thresholds.load import CLIENTS, Load, SideFailed
from harness.experiment.thresholds.sides import Side, Terms, alternate
from harness.record.findings import SAME, Cost, noise_of
from harness.report.formatting import not_here
from lab.contract import Architecture
from lab.errors import LabError
from lab.middleware import MIDDLEWARES
from lab.process.system import BrokerUrls

USUAL, CHANGED = "default", "changed"
LONGEST_SECONDS = 5.0
"""Of a window that is made longer because its side is slow."""
START_SECONDS = 2.5
"""About what a change takes beside its windows."""
_FAILURES = (LabError, SideFailed, OSError, subprocess.SubprocessError)


def seconds_of(changes: Sequence[Change], terms: Terms) -> float:
    """Return about how long *changes* of one middleware take, with that of the default against itself."""
    return (len(changes) + 1) * (START_SECONDS + 2 * terms.pairs * terms.seconds)


def settings_step(middleware: str, changes: Sequence[Change], seconds: float, pairs: int) -> Step:
    """Return the step that measures *changes* of one middleware in *pairs* of windows of *seconds*."""

    def measure(bench: Bench) -> Iterator[Cost]:
        yield from measured(middleware, changes, Terms(bench.brokers, seconds, pairs))

    needed = MIDDLEWARES[middleware].needed_brokers(Architecture.ONE_NODE)
    what = f"{MIDDLEWARES[middleware].label}: {len(changes)} changes"
    return Step(what, seconds_of(changes, Terms(BrokerUrls(), seconds, pairs)), needed, measure)


def measured(
    middleware: str, changes: Sequence[Change], terms: Terms, clients: int = CLIENTS
) -> Iterator[Cost]:
    """Yield what the default does against itself, then what each of *changes* does.

    What fails is an objection to that change, or to all if it is the default that failed.
    """
    missing = MIDDLEWARES[middleware].needed_brokers(Architecture.ONE_NODE) - terms.brokers.kinds
    if missing:
        yield Cost(middleware, SAME, missing=not_here(missing))
        return
    with ExitStack() as stack:
        sides, noise = Sides(stack, middleware, terms.brokers, clients), None
        for change in (None, *changes):
            cost = _described(middleware, change)
            with ExitStack() as inner:
                try:
                    cost = _measured(cost, *_loads(sides, inner, middleware, change), terms)
                except _FAILURES as error:
                    said = getattr(error, "message", "") or str(error)
                    cost = replace(cost, objections=[f"{type(error).__name__}: {said}"])
            if change is None:
                noise = noise_of(cost)
            elif noise is None:
                cost = replace(cost, objections=[*cost.objections, "the default did not hold against itself"])
            yield replace(cost, noise=noise)


def _described(middleware: str, change: Change | None) -> Cost:
    if change is None:
        return Cost(middleware, SAME)
    setting = change.setting
    promise = setting.promises.get(change.value, "")
    return Cost(middleware, setting.name, change.value, setting.default, promise)


def _loads(sides: Sides, stack: ExitStack, middleware: str, change: Change | None) -> tuple[Load, Load]:
    if change is None:
        setup = DEFAULTS[middleware]
        return sides.usual(setup), sides.again(stack, setup)
    usual, changed = change.sides
    return sides.usual(usual), sides.changed(stack, changed)


def _measured(cost: Cost, usual: Load, changed: Load, terms: Terms) -> Cost:
    watched = {USUAL: _Watched(usual), CHANGED: _Watched(changed)}
    sides: dict[str, Side] = dict(watched)
    rates = alternate(sides, terms.pairs, terms.seconds)
    objections = [f"{name}: {said}" for name, side in watched.items() for said in side.objections]
    return replace(cost, usual_rates=rates[USUAL], rates=rates[CHANGED], objections=objections)


@dataclass(slots=True)
class _Watched:
    """A side that notes what speaks against its windows."""

    load: Load
    fewest: float = float("inf")
    busiest: float = 0.0

    def window(self, seconds: float) -> float:
        """Measure for *seconds*, or for as long as a slow side takes to answer enough."""
        enough = 2 * FEWEST_REQUESTS / max(self.load.rate, 1.0)
        lasting = max(seconds, min(enough, LONGEST_SECONDS))
        rate = self.load.window(lasting)
        self.fewest = min(self.fewest, rate * lasting)
        self.busiest = max(self.busiest, self.load.cpu_share)
        return rate

    @property
    def objections(self) -> list[str]:
        found = []
        if self.fewest < FEWEST_REQUESTS:
            found.append(f"too short: a window of about {self.fewest:.0f} requests")
        if self.busiest > MOST_GENERATOR_CPU:
            found.append(f"client-bound: each load generator used {self.busiest:.0%} of a core")
        return found
