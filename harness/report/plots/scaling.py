"""Dynamic scaling: late events against cost; then load, backlog, workers and response time over time."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from dynamic.policies.sample import TARGET_SECONDS
from harness.record.run import Run, ScalingTrial, Series
from harness.report.plots.style import GREY, INVALID, PLAIN, WIDTH, logarithmic
from harness.report.scaling import MOST_LATE, estimate, figure_words, scaling_title, scalings_by_profile
from harness.statistics import Estimate

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
"""Okabe and Ito's, one per policy, in the order in which they ran."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[tuple[float, str], ...] = ((3.5, "-"), (2.2, "-"), (1.4, "-"), (1.2, "--"), (1.2, ":"))
"""Width and style, one per policy: where lines coincide, those below can be seen at both sides."""
PANELS = ("events per second", "backlog, events", "workers", "p99 of the response\ntime, seconds")
MARGIN_LABEL = "needed for the rate (with a margin for chance)"
PERCENTS = (0.0, 0.1, 1.0, 10.0, 100.0)

Trials = Sequence[ScalingTrial]


def scaling(run: Run) -> dict[str, Figure]:
    """Return the figure of late events against cost, then one for each load profile, by its name."""
    found = scalings_by_profile(run)
    figures = {name.replace(" ", "-"): _figure(policies) for name, policies in found.items()}
    return {"frontier": _frontier(found), **figures} if found else {}


def _frontier(found: Mapping[str, Mapping[str, Trials]]) -> Figure:
    """Draw a point for each policy and profile: better is further left and further down."""
    figure = Figure(figsize=(WIDTH, 4.5))
    axes = figure.subplots()
    names = dict.fromkeys(policy for policies in found.values() for policy in policies)
    colours = dict(zip(names, COLOURS * 2, strict=False))
    markers = dict(zip(found, MARKERS * 2, strict=False))
    for profile, policies in found.items():
        for policy, trials in policies.items():
            _point(axes, trials, colours[policy], markers[profile])
    axes.axvline(1.0, color=GREY, linewidth=2.5, alpha=0.5)
    axes.annotate("optimum", (1.0, 1.0), xycoords=("data", "axes fraction"), fontsize=8, va="bottom")
    axes.set_yscale("symlog", linthresh=MOST_LATE)
    axes.set_ylim(0.0, max(1.0, 1.5 * axes.get_ylim()[1]))
    axes.yaxis.set_major_locator(FixedLocator(PERCENTS))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PLAIN)
    axes.set_xlabel("cost over the optimum's (worker-seconds, and the price of the starts)")
    axes.set_ylabel(f"events later than {TARGET_SECONDS:g} s, %")
    handles = [_handle(name, color=colour, marker="o") for name, colour in colours.items()]
    if len(markers) > 1:
        handles += [_handle(name, color="black", marker=marker) for name, marker in markers.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    load = "" if len(found) > 1 else f"\n{scaling_title(next(iter(found.values())))}"
    figure.suptitle(f"Dynamic scaling over RabbitMQ: late events against cost{load}", fontsize=10)
    return figure


def _handle(name: str, **how: str) -> Line2D:
    return Line2D([], [], linestyle="none", label=name, **how)  # type: ignore[arg-type]


def _point(axes: Axes, trials: Trials, colour: str, marker: str) -> None:
    """Draw the mean of *trials*, with its intervals; hollow: one of them is invalid."""
    cost, late = estimate(trials, "cost over the optimum's"), estimate(trials, "late, %")
    if not isfinite(cost.value):
        return
    axes.errorbar(
        cost.value,
        late.value,
        xerr=_error(cost),
        yerr=_error(late),
        color=colour,
        marker=marker,
        markerfacecolor="none" if any(trial.objections for trial in trials) else colour,
        elinewidth=1,
        clip_on=False,  # on the axis a point is whole
        zorder=3,
    )


def _error(found: Estimate) -> list[list[float]] | None:
    if found.low is None or found.high is None:
        return None
    return [[found.value - found.low], [found.high - found.value]]


def _figure(policies: Mapping[str, Trials]) -> Figure:
    """Draw the first trial of each policy over time."""
    trials = [kept[0] for kept in policies.values()]
    first = trials[0]
    figure = Figure(figsize=(WIDTH, 9.0))
    panels = figure.subplots(4, 1, sharex=True, height_ratios=(2, 2, 3, 2))
    for axes, label in zip(panels, PANELS, strict=True):
        axes.set_ylabel(label)
    rates, backlog, workers, p99 = panels
    end = first.seconds
    _stairs(rates, first.offered, end, color=GREY, linewidth=5, alpha=0.4)
    _stairs(workers, first.needed, end, color=GREY, linewidth=5, alpha=0.4)
    for trial, how in zip(trials, _looks(), strict=False):
        _stairs(rates, trial.measured, end, **how)
        backlog.plot([one.time for one in trial.decisions], [one.backlog for one in trial.decisions], **how)
        _stairs(workers, trial.ready, end, **how)
        _fill_starting(workers, trial, str(how["color"]))
        p99.plot(trial.p99.times, trial.p99.values, **how)
    logarithmic(p99, y=True)
    p99.axhline(TARGET_SECONDS, color=INVALID, linewidth=1, linestyle="--")
    p99.annotate(
        f"late: over {TARGET_SECONDS:g} s", (0, TARGET_SECONDS), color=INVALID, fontsize=8, va="bottom"
    )
    p99.set_xlabel("seconds")
    p99.set_xlim(0, first.seconds)
    for axes in panels[:3]:
        axes.set_ylim(0, 1.3 * max(axes.get_ylim()[1], 1))  # the legend stands above the lines
    _legends(figure, workers, rates, policies)
    number = len(next(iter(policies.values())))
    which = f"first of {number} trials" if number > 1 else "one trial"
    how_made = f"{first.work} per event, seed {first.seed}, {which}, RabbitMQ"
    figure.suptitle(f"Dynamic scaling, {first.profile}: {first.description}\n{how_made}", fontsize=10)
    return figure


def _looks() -> list[dict[str, Any]]:
    """Return how the lines of each policy look."""
    lines = (*LINES, *LINES)
    return [
        {"color": colour, "linewidth": width, "linestyle": style}
        for colour, (width, style) in zip(COLOURS, lines, strict=False)
    ]


def _stairs(axes: Axes, curve: Series, end: float, **how: object) -> None:
    """Draw values that stay until the next one, the last until *end*."""
    if curve.times:
        axes.step([*curve.times, end], [*curve.values, curve.values[-1]], where="post", **how)  # type: ignore[arg-type]


def _fill_starting(axes: Axes, trial: ScalingTrial, colour: str) -> None:
    """Show how many workers were starting, as an area on top of those that were ready."""
    pairs = zip(trial.starting.times, [*trial.starting.times[1:], trial.seconds], strict=True)
    for (begin, end), value in zip(pairs, trial.starting.values, strict=True):
        if value:
            place = max(0, bisect_right(trial.ready.times, begin) - 1)
            ready = trial.ready.values[place] if trial.ready.values else 0
            width = max(end - begin, 0.2)  # seen, however short
            axes.bar(begin, value, width, ready or 0, align="edge", color=colour, alpha=0.25, linewidth=0)


def _legends(figure: Figure, workers: Axes, rates: Axes, policies: Mapping[str, Trials]) -> None:
    by_policy = [
        Line2D([], [], **how, label=_label(policy, trials))
        for (policy, trials), how in zip(policies.items(), _looks(), strict=False)
    ]
    figure.legend(handles=by_policy, loc="outside lower center", ncols=1, fontsize=8, frameon=False)
    grey = {"color": GREY, "linewidth": 5, "alpha": 0.4}
    offered = Line2D([], [], **grey, label="offered")  # type: ignore[arg-type]
    done = Line2D([], [], color="black", linewidth=1.2, label="measured")
    rates.legend(handles=[offered, done], fontsize=8, loc="upper right", ncols=2)
    kinds = [
        Line2D([], [], **grey, label=MARGIN_LABEL),  # type: ignore[arg-type]
        Line2D([], [], color="black", linewidth=1.2, label="ready"),
        Line2D([], [], color="black", linewidth=6, alpha=0.25, label="wanted, starting"),
    ]
    workers.legend(handles=kinds, fontsize=8, loc="upper right", ncols=3)


def _label(policy: str, trials: Trials) -> str:
    late, cost = figure_words(trials, "late, %"), figure_words(trials, "cost over the optimum's")
    actions = figure_words(trials, "actions")
    return f"{policy}: {late} % late, cost {cost} x optimum, {actions} actions"
