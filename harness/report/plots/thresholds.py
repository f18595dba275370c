"""The plot of `lab bench`: each measurement over its threshold, with its interval."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from harness.record.findings import Finding, Judgement
from harness.report.findings import value
from harness.report.plots.style import GREY, INVALID, PLAIN

COLOURS: dict[str, str] = {
    Judgement.REACHED: "#009E73",
    Judgement.UNDECIDED: GREY,
    Judgement.MISSED: "#D55E00",
    Judgement.INVALID: INVALID,
}
HATCHES: dict[str, str] = {Judgement.UNDECIDED: "...", Judgement.MISSED: "///", Judgement.INVALID: "xxx"}
ROW_INCHES = 0.34


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
        axes.annotate(_label(one), end, (6, 0), textcoords="offset points", va="center", fontsize=8)
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
        "how far over the bar (dashed line); what must stay below is turned round.\n"
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


def _label(one: Finding) -> str:
    asked = "at least" if one.at_least else "below"
    said = f"{value(one.median or 0.0, one.unit)} ({asked} {one.bar:g}), n = {len(one.values)}"
    return said if one.verdict is Judgement.REACHED else f"{said}, {one.verdict.upper()}"
