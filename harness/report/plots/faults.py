"""Faults over time: throughput and p99 with each fault marked, how long it held things up, what was lost."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.analysis.verdicts import IN_PAIRS
from harness.record.run import FaultTrial, Run
from harness.report.faults import variant_name, verdict
from harness.report.plots.style import GREY, INVALID, LOOKS, PER_SECOND, THOUSANDS, WIDTH, logarithmic

DRAWN = ("kills", "frozen", "masters", "redis-killed", "rabbitmq-killed", "network")
"""Scenarios whose faults strike while the load goes on, or whose times are worth a look."""
FAULT = "#CC79A7"
MOST_MARKS = 60
ROW_HEIGHT = 1.75


def timelines(run: Run) -> dict[str, Figure]:
    """Return a figure for each scenario of *run* in which something happens at a time."""
    found: dict[str, list[FaultTrial]] = {}
    for trial in run.faults:
        if trial.scenario in DRAWN and trial.timeline.done:
            found.setdefault(trial.scenario, []).append(trial)
    return {scenario: _timeline(trials) for scenario, trials in found.items()}


def _timeline(trials: list[FaultTrial]) -> Figure:
    """Draw a row per middleware: throughput on the left, p99 on the right, the faults in both."""
    trials.sort(key=lambda trial: IN_PAIRS.index(trial.middleware))
    figure = Figure(figsize=(WIDTH, ROW_HEIGHT * len(trials) + 1.1))
    panels = figure.subplots(len(trials), 2, squeeze=False, sharex="row")
    for (rate, time), trial in zip(panels, trials, strict=True):
        starts = [place * trial.timeline.slice_seconds for place in range(len(trial.timeline.done))]
        _throughput(rate, trial, starts)
        _p99(time, trial, starts)
        for axes in (rate, time):
            _mark(axes, trial)
            axes.tick_params(labelsize=8)
    for axes in panels[-1]:
        axes.set_xlabel("seconds since the load began", fontsize=9)
    figure.suptitle(_title(trials), fontsize=10)
    figure.legend(handles=_legend(trials), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _throughput(axes: Axes, trial: FaultTrial, starts: Sequence[float]) -> None:
    slice_seconds = trial.timeline.slice_seconds
    look = LOOKS[trial.middleware]
    edges = [*starts, starts[-1] + slice_seconds]
    rates = [count / slice_seconds for count in trial.timeline.done]
    axes.stairs(rates, edges, color=look.colour, fill=look.is_solid, alpha=0.85, linewidth=1.2)
    unanswered = [count / slice_seconds for count in trial.timeline.unanswered]
    if any(unanswered):
        axes.stairs(unanswered, edges, color=INVALID, linewidth=1.2)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(THOUSANDS)
    axes.set_title(f"{variant_name(trial.middleware)}: {PER_SECOND}", fontsize=8, loc="left")


def _p99(axes: Axes, trial: FaultTrial, starts: Sequence[float]) -> None:
    middles = [start + trial.timeline.slice_seconds / 2 for start in starts]
    look = LOOKS[trial.middleware]
    times = [float("nan") if value is None else value for value in trial.timeline.p99_ms]
    axes.plot(middles, times, color=look.colour, marker=look.marker, mfc=look.face, markersize=3, linewidth=1)
    logarithmic(axes, y=True)
    axes.set_title(
        _result(trial), fontsize=8, loc="left", color=INVALID if verdict(trial) == "FAIL" else "black"
    )


def _mark(axes: Axes, trial: FaultTrial) -> None:
    for fault in trial.faults[:MOST_MARKS]:
        axes.axvline(fault.at_seconds, color=FAULT, linewidth=1, zorder=3)
        if fault.until_seconds is not None:
            axes.axvspan(fault.at_seconds, fault.until_seconds, color=FAULT, alpha=0.18, linewidth=0)


def _result(trial: FaultTrial) -> str:
    """Return what came of a trial, as short as it can be said."""
    slowest = max((fault.recovery_seconds or 0.0 for fault in trial.faults), default=None)
    held = f", held up {slowest:.2g} s at most" if slowest is not None else ""
    lost, twice = trial.counts.get("lost", 0), trial.counts.get("duplicated", 0)
    return f"p99, ms. {verdict(trial)}: lost {lost}, twice {twice}{held}"


def _title(trials: Sequence[FaultTrial]) -> str:
    first = trials[0]
    kinds = sorted({fault.kind for trial in trials for fault in trial.faults})
    what = f" ({', '.join(kinds)})" if kinds else ""
    nodes = "one node" if first.nodes == 1 else f"{first.nodes} nodes"
    return f"Faults: {first.scenario}{what}; {nodes}, seed {first.seed}"


def _legend(trials: Sequence[FaultTrial]) -> list[Line2D | Patch]:
    """Return an entry for each thing that is drawn."""
    faults = [fault for trial in trials for fault in trial.faults]
    entries: dict[Line2D | Patch, bool] = {
        Patch(color=GREY, label="answered"): True,
        Line2D([], [], color=INVALID, linewidth=1.2, label="refused or given up"): any(
            any(trial.timeline.unanswered) for trial in trials
        ),
        Line2D([], [], color=FAULT, label="fault"): bool(faults),
        Patch(color=FAULT, alpha=0.25, label="until it is over"): any(
            fault.until_seconds is not None for fault in faults
        ),
    }
    return [entry for entry, is_drawn in entries.items() if is_drawn]
