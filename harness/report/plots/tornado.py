"""The plots of `lab settings`: a tornado per middleware, the rate with each change over the default's."""

import math
from collections.abc import Sequence
from typing import cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from harness.record.findings import SAME, Cost
from harness.record.run import Run
from harness.report.findings import ratio_number, ratio_words
from harness.report.plots.style import GREY, INVALID, LOOKS, PLAIN, mark_invalid
from harness.statistics import Verdict
from lab.middleware import MIDDLEWARES

ROW_INCHES = 0.36
FEW_DECADES = 2.0
"""Of an axis on which 2 and 5 have room between 1 and 10."""
PALE = 0.35
ROOM = 0.3
"""Of the axis' length, on each side, for the labels."""


def tornados(run: Run) -> dict[str, Figure]:
    """Draw each middleware that has a change measured."""
    middlewares = dict.fromkeys(cost.middleware for cost in run.costs)
    figures = {name: _figure(run, name) for name in middlewares}
    return {name: figure for name, figure in figures.items() if figure}


def _figure(run: Run, middleware: str) -> Figure | None:
    costs = [one for one in run.costs if one.middleware == middleware and one.setting != SAME]
    shown = sorted((one for one in costs if one.estimate or one.objections), key=_effect, reverse=True)
    if not shown:
        return None
    figure = Figure(figsize=(9.5, 1.9 + ROW_INCHES * len(shown)))
    axes = figure.subplots()
    noise = shown[0].noise
    if noise:
        axes.axvspan(1 / noise, noise, color="#eeeeee", zorder=0)
    axes.axvline(1.0, color=GREY, linestyle="--", zorder=3)
    axes.set_xscale("log")
    _scale(axes, shown)
    for place, cost in enumerate(shown):
        _row(axes, place, cost)
    axes.set_yticks(range(len(shown)), [_name(cost) for cost in shown], fontsize=9)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(
        "requests per second over those of the default (dashed line): right is faster, left is slower.\n"
        "Black bars: 95 % interval (Student's t on logarithms). Hatched: what is promised changes.\n"
        "Grey: as far as the default came from itself. Pale: no detectable difference.",
        fontsize=8,
    )
    load = cast("dict[str, str]", run.configuration.get("loads", {})).get(middleware, "")
    pairs = f"{run.configuration.get('pairs')} pairs of windows of {run.configuration.get('seconds')} s"
    axes.set_title(
        f"{MIDDLEWARES[middleware].label}: what each setting costs\n{load}; {pairs}",
        fontsize=10,
    )
    return figure


def _row(axes: Axes, place: int, cost: Cost) -> None:
    found = cost.estimate
    if found is None:
        axes.text(1.0, place, "  INVALID: it failed", color=INVALID, va="center", fontsize=8)
        return
    low, high = found.low or found.value, found.high or found.value
    is_faster = found.value >= 1
    if cost.is_valid:
        axes.barh(
            place,
            found.value - 1,
            left=1.0,
            height=0.7,
            color=LOOKS[cost.middleware].colour,
            alpha=PALE if cost.verdict is Verdict.NO_DETECTABLE_DIFFERENCE else 1.0,
            hatch="///" if cost.promise else None,
            edgecolor="white",
        )
        axes.errorbar(
            found.value,
            place,
            xerr=[[found.value - low], [high - found.value]],
            color="black",
            capsize=3,
            zorder=4,
        )
    else:
        low = high = found.value
        mark_invalid(axes, found.value, place)
    axes.annotate(
        _label(cost),
        (max(high, 1.0) if is_faster else min(low, 1.0), place),
        (6 if is_faster else -6, 0),
        textcoords="offset points",
        ha="left" if is_faster else "right",
        va="center",
        fontsize=8,
        color="black" if cost.is_valid else INVALID,
    )


def _scale(axes: Axes, shown: Sequence[Cost]) -> None:
    """Let the axis hold every bar and its label, and the line of the default."""
    found = [cost.estimate for cost in shown if cost.estimate]
    ends = [1.0, *(end for one in found for end in (one.value, one.low, one.high) if end)]
    low, high = math.log(min(ends)), math.log(max(ends))
    length = max(high - low, math.log(2.0))
    slower = any(one.value < 1 for one in found)
    faster = any(one.value >= 1 for one in found)
    left, right = low - length * (ROOM if slower else 0.05), high + length * (ROOM if faster else 0.05)
    axes.set_xlim(math.exp(left), math.exp(right))
    is_short = right - left < FEW_DECADES * math.log(10.0)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if is_short else (1,)))
    axes.xaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_minor_formatter(NullFormatter())


def _name(cost: Cost) -> str:
    return f"{cost.setting} {cost.value}  (default {cost.default})"


def _label(cost: Cost) -> str:
    found = cost.estimate
    if found is None or not cost.is_valid:
        return f"{ratio_number(found.value)} INVALID" if found else "INVALID"
    promise = cost.promise.partition(":")[0]
    return f"{ratio_words(found)}\n{promise}" if promise else ratio_words(found)


def _effect(cost: Cost) -> float:
    """How far from 1; what is invalid has none, and stands last."""
    return abs(math.log(cost.estimate.value)) if cost.estimate and cost.is_valid else -1.0
