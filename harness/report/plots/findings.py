"""Plots of findings: what settings cost, what requests cost as work grows, and values over thresholds."""

import math
from collections.abc import Sequence
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from harness.analysis.growth import MILLISECONDS, Curve, Size, curves
from harness.record.findings import Finding, Judgement
from harness.record.run import Run
from harness.report.findings import ratio_words, value
from harness.report.plots.style import (
    GREY,
    INVALID,
    LOOKS,
    PER_SECOND,
    PLAIN,
    legend,
    logarithmic,
    mark_invalid,
)
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
    changes = [one for one in run.findings if one.change]
    middlewares = dict.fromkeys(one.change.middleware for one in changes if one.change)
    return {name: _figure(run, name) for name in middlewares}


def _figure(run: Run, middleware: str) -> Figure:
    changes = [one for one in run.findings if one.change and one.change.middleware == middleware]
    shown = sorted(changes, key=_effect, reverse=True)
    figure = Figure(figsize=(9.5, 1.9 + ROW_INCHES * len(shown)))
    axes = figure.subplots()
    axes.axvline(1.0, color=GREY, linestyle="--", zorder=3)
    axes.set_xscale("log")
    _scale(axes, shown)
    for place, one in enumerate(shown):
        _row(axes, place, one, LOOKS[middleware].colour)
    axes.set_yticks(range(len(shown)), [_name(one) for one in shown], fontsize=9)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(
        "requests per second over those of the default (dashed line): right is faster, left is slower.\n"
        "Black bars: interval of the pairs (Student's t on logarithms). Hatched: what is promised changes.\n"
        "Grey: as far as the default came from itself. Pale: undecided.",
        fontsize=8,
    )
    label = MIDDLEWARES[middleware].label
    axes.set_title(f"{label}: what each setting costs\n{_load(run, middleware)}", fontsize=10)
    return figure


def _load(run: Run, middleware: str) -> str:
    """Say under which load the default was measured."""
    points = [one for one in run.points if one.middleware == middleware and one.setting.startswith("A")]
    if not points:
        return ""
    first, blocks = points[0], len({one.block for one in points})
    load = f"{first.clients} clients x {first.in_flight} in flight"
    return f"{load}; {blocks} blocks of windows of {first.measurement.seconds:.1f} s"


def _row(axes: Axes, place: int, one: Finding, colour: str) -> None:
    found, change = one.comparison, one.change
    if found is None:
        axes.text(1.0, place, "  INVALID: too few valid blocks", color=INVALID, va="center", fontsize=8)
        return
    ratio, noise = found.ratio.value, found.noise_ratio
    low, high = found.ratio.low or ratio, found.ratio.high or ratio
    axes.barh(place, noise - 1 / noise, left=1 / noise, height=0.9, color="#eeeeee", zorder=0)
    axes.barh(
        place,
        ratio - 1,
        left=1.0,
        height=0.7,
        color=colour,
        alpha=PALE if one.verdict is Verdict.UNDECIDED else 1.0,
        hatch="///" if change and change.promise else None,
        edgecolor="white",
    )
    axes.errorbar(ratio, place, xerr=[[ratio - low], [high - ratio]], color="black", capsize=3, zorder=4)
    is_faster = ratio >= 1
    axes.annotate(
        _label(one),
        (max(high, 1.0) if is_faster else min(low, 1.0), place),
        (6 if is_faster else -6, 0),
        textcoords="offset points",
        ha="left" if is_faster else "right",
        va="center",
        fontsize=8,
    )


def _scale(axes: Axes, shown: Sequence[Finding]) -> None:
    """Let the axis hold every bar and its label, and the line of the default."""
    found = [one.comparison.ratio for one in shown if one.comparison]
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


def _name(one: Finding) -> str:
    change = one.change
    return f"{change.setting} {change.value}  (default {change.default})" if change else one.what


def _label(one: Finding) -> str:
    said = ratio_words(one.comparison.ratio) if one.comparison else ""
    promise = one.change.promise.partition(":")[0] if one.change else ""
    return f"{said}\n{promise}" if promise else said


def _effect(one: Finding) -> float:
    """How far from 1; what is invalid has none, and stands last."""
    return abs(math.log(one.comparison.ratio.value)) if one.comparison else -1.0


COMPONENTS = {
    "nodes": ("node",),
    "brokers": ("redis", "rabbitmq"),
    "load generators, subscribers": ("harness",),
}
"""Panels of memory, and the components that each adds up."""
MEMORY_BAR_MIB = 300e6 / 2**20
PANEL_WIDTH, PANEL_HEIGHT = 4.0, 3.0
MOST_COLUMNS = 3
MOST_TICKS = 6
WIDE = 4.0
"""Values so many times apart are drawn on a logarithmic scale; closer, it would make much of little."""


def growths(run: Run) -> dict[str, Figure]:
    """Draw each study that has data."""
    grown = curves(run)
    studies = dict.fromkeys(curve.study for curve in grown)
    figures = {study: growth_figure(study, grown) for study in studies}
    return {study: figure for study, figure in figures.items() if figure}


def growth_figure(study: str, curves: Sequence[Curve]) -> Figure | None:
    """Draw the curves of one study; None if there is nothing to draw."""
    shown = [curve for curve in curves if curve.study == study and curve.sizes]
    if not shown:
        return None
    titles = dict.fromkeys(curve.title for curve in shown)
    parts = [name for name in COMPONENTS if any(_memory(one, name) for c in shown for one in c.sizes)]
    count = len(titles) + len(parts)
    columns = 2 if count in (2, 4) else min(count, MOST_COLUMNS)
    rows = math.ceil(count / columns)
    size = (PANEL_WIDTH * columns, PANEL_HEIGHT * rows + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, title in zip(panels, titles, strict=False):
        _values(axes, [curve for curve in shown if curve.title == title])
        axes.set_title(title, fontsize=9)
    for axes, part in zip(panels[len(titles) :], parts, strict=False):
        _memories(axes, shown, part)
    for axes in panels[:count]:
        _sizes(axes, shown)
        axes.set_xlabel(study, fontsize=8)
        axes.tick_params(labelsize=8)
    for axes in panels[count:]:
        axes.set_axis_off()
    legend(figure, columns=6, length=3.0)
    windows = max(len(one.values) for curve in shown for one in curve.sizes)
    figure.suptitle(
        f"Cost as {study} grow; median of {windows} {'ticks' if study == 'subscribers' else 'window(s)'}, "
        "bars: their range\nhollow: too short to rely on; red cross: invalid",
        fontsize=10,
    )
    return figure


def _values(axes: Axes, curves: Sequence[Curve]) -> None:
    for curve in curves:
        look = LOOKS[curve.middleware]
        shares = curve.bar is not None
        first = curve.sizes[0].values
        for one in curve.sizes:
            values = _over(one.values, first) if shares else list(one.values)
            middle = median(values)
            error = [[middle - min(values)], [max(values) - middle]]
            axes.errorbar(one.size, middle, yerr=error, color=look.colour, capsize=2, lw=1)
            fill = "white" if one.is_short else look.colour
            axes.plot(one.size, middle, look.marker, color=look.colour, markerfacecolor=fill, ms=5, zorder=3)
            if not one.is_valid:
                mark_invalid(axes, one.size, middle)
        xs = [one.size for one in curve.sizes]
        ys = [median(_over(one.values, first)) if shares else one.median for one in curve.sizes]
        axes.plot(xs, ys, marker=look.marker, color=look.colour, label=curve.label, ms=5)
    bar = curves[0].bar
    if bar is not None:
        axes.axhline(bar, color=GREY, linestyle="--", linewidth=1, label=f"threshold: {bar:g} x")
        axes.set_ylabel("rate over that of the fewest", fontsize=8)
    else:
        is_time = curves[0].unit == MILLISECONDS
        axes.set_ylabel("milliseconds" if is_time else PER_SECOND, fontsize=8)
    if curves[0].study == "nodes":
        _ideal(axes, curves)
    medians = [one.median for curve in curves for one in curve.sizes]
    is_wide = bar is None and max(medians) > WIDE * min(medians)
    logarithmic(axes, x=True, y=is_wide)
    if not is_wide:
        axes.set_ylim(bottom=0, top=1.1 * axes.get_ylim()[1])
        axes.yaxis.set_major_formatter(PLAIN)


def _sizes(axes: Axes, curves: Sequence[Curve]) -> None:
    """Let the ticks be the sizes that were measured; of many, every other, the last among them."""
    sizes = sorted({one.size for curve in curves for one in curve.sizes})
    shown = sizes if len(sizes) <= MOST_TICKS else sizes[::-1][::2][::-1]
    axes.set_xticks(shown, [_short(size) for size in shown])
    axes.set_xticks(sizes, minor=True)


def _short(size: int) -> str:
    """Return "10", "1k", "2M"."""
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if size >= unit and not size % unit:
            return f"{size // unit}{name}"
    return str(size)


def _ideal(axes: Axes, curves: Sequence[Curve]) -> None:
    """Draw n times the best rate of the fewest nodes."""
    fewest, most = curves[0].sizes[0], curves[0].sizes[-1]
    best = max(curve.sizes[0].median for curve in curves)
    ys = [best, best * most.size / fewest.size]
    axes.plot([fewest.size, most.size], ys, color=GREY, linestyle="--", lw=1, label="ideal")


def _memories(axes: Axes, curves: Sequence[Curve], part: str) -> None:
    lines = {(curve.middleware, curve.place): curve for curve in curves}
    for (_, place), curve in lines.items():
        found = [(one.size, _memory(one, part)) for one in curve.sizes]
        known = [(size, mib) for size, mib in found if mib]
        if not known:
            continue
        look = LOOKS[curve.middleware]
        style = "--" if place == "in memory" else "-"
        label = f"{curve.label}, {place}" if style == "--" else curve.label
        xs, ys = zip(*known, strict=True)
        axes.plot(xs, ys, marker=look.marker, color=look.colour, linestyle=style, label=label, ms=5)
    if part == list(COMPONENTS)[-1] and curves[0].study == "requests made":
        axes.axhline(MEMORY_BAR_MIB, color=GREY, linestyle=":", lw=1, label="threshold: 300 MB")
    axes.set_title(f"memory of {part}", fontsize=9)
    axes.set_ylabel("MiB, all processes", fontsize=8)
    axes.set_ylim(bottom=0, top=1.15 * axes.get_ylim()[1])
    logarithmic(axes, x=True)


def _memory(size: Size, part: str) -> float:
    return sum(size.memory_mib.get(component, 0.0) for component in COMPONENTS[part])


def _over(values: Sequence[float], first: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(values, first, strict=False)]


COLOURS: dict[str, str] = {
    Judgement.REACHED: "#009E73",
    Judgement.UNDECIDED: GREY,
    Judgement.MISSED: "#D55E00",
    Judgement.INVALID: INVALID,
}
HATCHES: dict[str, str] = {Judgement.UNDECIDED: "...", Judgement.MISSED: "///", Judgement.INVALID: "xxx"}


def thresholds_figure(findings: Sequence[Finding]) -> Figure | None:
    """Draw the findings that have a threshold; None if there are none."""
    shown = [one for one in findings if one.bar is not None and one.median is not None]
    if not shown:
        return None
    figure = Figure(figsize=(11.0, 1.2 + ROW_INCHES * len(shown)))
    axes = figure.subplots()
    for place, one in enumerate(shown):
        middle, low, high = (_over_bar(one, number) for number in _numbers(one))
        axes.barh(
            place, middle, color=COLOURS[one.verdict], hatch=HATCHES.get(one.verdict), edgecolor="white"
        )
        below, above = max(0.0, middle - low), max(0.0, high - middle)
        axes.errorbar(middle, place, xerr=[[below], [above]], color="black", capsize=3)
        end = (max(middle, high), place)
        axes.annotate(_threshold_label(one), end, (6, 0), textcoords="offset points", va="center", fontsize=8)
    axes.axvline(1.0, color=GREY, linestyle="--")
    axes.set_yticks(range(len(shown)), [one.what for one in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    ends = [1.0, *(_over_bar(one, number) for one in shown for number in _numbers(one))]
    axes.set_xlim(min(ends) / 1.3, max(ends) * 2.6)  # room for the labels
    axes.set_xticks(
        [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if min(ends) / 1.3 < tick < 2 * max(ends)]
    )
    axes.xaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel(
        "how far above the threshold (dashed line); a value that must stay below its threshold is inverted.\n"
        "Median of pairs of windows, and their interval (Student's t on logarithms).\n"
        "Hatched: missed; dotted: undecided"
    )
    return figure


def _numbers(one: Finding) -> tuple[float, float, float]:
    """Return the median and the interval, which is the median again where there is none."""
    middle, found = one.median or 0.0, one.estimate
    if found is None or found.low is None or found.high is None:
        return middle, middle, middle
    return (middle, found.low, found.high) if one.at_least else (middle, found.high, found.low)


def _over_bar(one: Finding, number: float) -> float:
    bar = one.bar or 1.0
    return number / bar if one.at_least else bar / max(number, 1e-9)


def _threshold_label(one: Finding) -> str:
    asked = "at least" if one.at_least else "below"
    said = f"{value(one.median or 0.0, one.unit)} ({asked} {one.bar:g}), n = {len(one.values)}"
    return said if one.verdict is Judgement.REACHED else f"{said}, {one.verdict.upper()}"
