"""Dynamic scaling: late events against cost; then load, backlog, workers and response time over time."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dynamic.policies.sample import TARGET_SECONDS
from harness.record.run import Run, ScalingTrial, Series
from harness.report.plots.style import GREY, INVALID, WIDTH, logarithmic

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
"""Okabe and Ito's, one per policy, in the order in which they ran."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
PANELS = ("events per second", "backlog, events", "workers", "p99 of the response\ntime, seconds")


def scaling(run: Run) -> dict[str, Figure]:
    """Return the figure of late events against cost, then one for each load profile, by its name."""
    profiles = dict.fromkeys(trial.profile for trial in run.scalings)
    found = {
        name.replace(" ", "-"): _figure([trial for trial in run.scalings if trial.profile == name])
        for name in profiles
    }
    judged = [trial for trial in run.scalings if trial.scores.over_optimum is not None]
    return {"frontier": _frontier(judged), **found} if judged else found


def _frontier(trials: Sequence[ScalingTrial]) -> Figure:
    """Draw a point for each policy and profile: better is further left and further down."""
    figure = Figure(figsize=(WIDTH, 4.5))
    axes = figure.subplots()
    colours = dict(zip(dict.fromkeys(trial.policy for trial in trials), COLOURS * 2, strict=False))
    markers = dict(zip(dict.fromkeys(trial.profile for trial in trials), MARKERS * 2, strict=False))
    for trial in trials:
        axes.plot(
            trial.scores.over_optimum or 0.0,
            trial.scores.late_percent,
            color=colours[trial.policy],
            marker=markers[trial.profile],
            markerfacecolor=colours[trial.policy] if not trial.objections else "none",
            linestyle="none",
        )
    axes.axvline(1.0, color=GREY, linewidth=2.5, alpha=0.5)
    axes.annotate("optimum", (1.0, 1.0), xycoords=("data", "axes fraction"), fontsize=8, va="bottom")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylim(bottom=-0.02)
    axes.set_xlabel("cost over the optimum's (worker-seconds, and the price of the starts)")
    axes.set_ylabel(f"events later than {TARGET_SECONDS:g} s, %")
    handles = [
        *(
            Line2D([], [], color=one, marker="o", linestyle="none", label=name)
            for name, one in colours.items()
        ),
        *(
            Line2D([], [], color="black", marker=one, linestyle="none", label=name)
            for name, one in markers.items()
        ),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.suptitle("Dynamic scaling: late events against cost, one trial each, RabbitMQ", fontsize=10)
    return figure


def _figure(trials: Sequence[ScalingTrial]) -> Figure:
    first = trials[0]
    figure = Figure(figsize=(WIDTH, 9.0))
    panels = figure.subplots(4, 1, sharex=True, height_ratios=(2, 2, 3, 2))
    for axes, label in zip(panels, PANELS, strict=True):
        axes.set_ylabel(label)
    rates, backlog, workers, p99 = panels
    end = first.seconds
    _stairs(rates, first.offered, end, color=GREY, linewidth=2.5, alpha=0.5)
    _stairs(workers, first.needed, end, color=GREY, linewidth=2.5, alpha=0.5)
    for trial, colour in zip(trials, COLOURS, strict=False):
        _stairs(rates, trial.measured, end, color=colour, linewidth=1)
        times = [one.time for one in trial.decisions]
        backlog.plot(times, [one.backlog for one in trial.decisions], color=colour, linewidth=1.2)
        wanted = Series(times, [float(one.wanted) for one in trial.decisions])
        _stairs(workers, wanted, end, color=colour, linestyle=":")
        _stairs(workers, trial.ready, end, color=colour, linewidth=1.2)
        _fill_starting(workers, trial, colour)
        p99.plot(trial.p99.times, trial.p99.values, color=colour, linewidth=1.2)
    logarithmic(p99, y=True)
    p99.axhline(TARGET_SECONDS, color=INVALID, linewidth=1, linestyle="--")
    p99.annotate(
        f"late: over {TARGET_SECONDS:g} s", (0, TARGET_SECONDS), color=INVALID, fontsize=8, va="bottom"
    )
    p99.set_xlabel("seconds")
    p99.set_xlim(0, first.seconds)
    for axes in panels[:3]:
        axes.set_ylim(0, 1.3 * max(axes.get_ylim()[1], 1))  # the legend stands above the lines
    _legends(figure, workers, rates, trials)
    how = f"{first.work} per event, seed {first.seed}, one trial each, RabbitMQ"
    figure.suptitle(f"Dynamic scaling, {first.profile}: {first.description}\n{how}", fontsize=10)
    return figure


def _stairs(axes: Axes, curve: Series, end: float, **how: object) -> None:
    """Draw values that stay until the next one, the last until *end*."""
    if curve.times:
        axes.step([*curve.times, end], [*curve.values, curve.values[-1]], where="post", **how)  # type: ignore[arg-type]


def _fill_starting(axes: Axes, trial: ScalingTrial, colour: str) -> None:
    """Show how many workers were starting, as an area at the foot of the panel."""
    pairs = zip(trial.starting.times, [*trial.starting.times[1:], trial.seconds], strict=True)
    for (begin, end), value in zip(pairs, trial.starting.values, strict=True):
        if value:
            width = max(end - begin, 0.2)  # seen, however short
            axes.bar(begin, value, width, align="edge", color=colour, alpha=0.25, linewidth=0)


def _legends(figure: Figure, workers: Axes, rates: Axes, trials: Sequence[ScalingTrial]) -> None:
    by_policy = [
        Line2D([], [], color=colour, label=_label(trial))
        for trial, colour in zip(trials, COLOURS, strict=False)
    ]
    figure.legend(handles=by_policy, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    offered = Line2D([], [], color=GREY, linewidth=2.5, alpha=0.5, label="offered")
    done = Line2D([], [], color="black", linewidth=1, label="measured")
    rates.legend(handles=[offered, done], fontsize=8, loc="upper right", ncols=2)
    kinds = [
        Line2D([], [], color=GREY, linewidth=2.5, alpha=0.5, label="needed at least for the rate"),
        Line2D([], [], color="black", linestyle=":", label="wanted"),
        Line2D([], [], color="black", linewidth=1.2, label="ready"),
        Line2D([], [], color="black", linewidth=6, alpha=0.25, label="starting"),
    ]
    workers.legend(handles=kinds, fontsize=8, loc="upper right", ncols=2)


def _label(trial: ScalingTrial) -> str:
    scores = trial.scores
    cost = "" if scores.over_optimum is None else f", {scores.over_optimum:.2f} x optimum"
    return (
        f"{trial.policy}: {scores.late_percent:.2f} % late{cost}, {scores.actions} actions, lost {trial.lost}"
    )
