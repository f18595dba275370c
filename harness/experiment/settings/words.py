"""Costs in words."""

from statistics import median

from harness.analysis.statistics import Estimate
from harness.experiment.settings.cost import SAME, Cost
from harness.experiment.settings.table import Setup


def lines(cost: Cost) -> list[str]:
    """Return what is printed of *cost*: the ratio and what it shows, the rates, and what is to be known."""
    head = f"{cost.middleware:10} {name(cost)}"
    if cost.missing:
        return [f"{head}: SKIPPED: {cost.missing}"]
    found = cost.estimate
    if found:
        head += f": {ratio(found)} x the default, {said(cost)}"
    notes = [cost.promise] if cost.promise else []
    notes += [f"INVALID: {doubt}" for doubt in cost.doubts]
    if not found:
        return [head, *(f"{'':10} {note}" for note in notes)]
    rates = f"{median(cost.usual_rates):,.0f}/s by default, {median(cost.rates):,.0f}/s with it"
    return [head, *(f"{'':10} {note}" for note in (*notes, f"{rates}, n = {found.trials}"))]


def name(cost: Cost) -> str:
    """Say what was changed to what."""
    if cost.setting == SAME:
        return f"{SAME} (noise)"
    return f"{cost.setting} {cost.value} (default {cost.default})"


def ratio(found: Estimate) -> str:
    """Return a ratio with its interval, if it has one."""
    if found.low is None or found.high is None:
        return number(found.value)
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def said(cost: Cost) -> str:
    """Return the verdict in words."""
    return cost.verdict or "nothing may be concluded"


def number(value: float) -> str:
    """Return a ratio with as many digits as it may be read to."""
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def load(setup: Setup, clients: int) -> str:
    """Say under which load a default is measured."""
    depth = f"{setup.in_flight} in flight each" if setup.in_flight else "one call at a time"
    return f"{clients} clients, {depth}, texts of {setup.text_bytes} B, one node"
