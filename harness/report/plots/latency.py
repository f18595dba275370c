"""Response times: percentiles of each system, and how they grow with the rate."""

from matplotlib.figure import Figure

from harness.analysis.verdicts import best_points
from harness.record.run import Point, Run
from harness.record.summary import PERCENTILES
from harness.report.formatting import nodes
from harness.report.plots.style import (
    HEIGHT,
    LOOKS,
    PER_SECOND,
    THOUSANDS,
    WIDTH,
    logarithmic,
    mark_invalid,
)
from lab.contract import Architecture
from lab.middleware import MIDDLEWARES

MILLISECONDS = "response time, ms"
LINES = {"p50": ":", "p95": "--", "p99": "-"}


def percentiles(run: Run) -> Figure | None:
    """Percentiles of the response time, one request in flight per client; n-node with open markers."""
    points = [point for point in best_points(run, "requests") if _has_times(point)]
    if not points:
        return None
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.subplots()
    for point in points:
        look = LOOKS[point.middleware]
        times = [point.measurement.response_ms.get(name) for name in PERCENTILES]
        is_alone = point.architecture == Architecture.ONE_NODE
        axes.plot(
            range(len(times)),
            [float("nan") if time is None else time for time in times],
            color=look.colour,
            marker=look.marker,
            linestyle="-" if is_alone else "--",
            markerfacecolor=look.colour if is_alone else "white",
            label=f"{MIDDLEWARES[point.middleware].label}, {nodes(point.nodes)}",
        )
    axes.set_xticks(range(len(PERCENTILES)), list(PERCENTILES))
    logarithmic(axes, y=True)
    axes.set_xlabel("percentile (those with too few samples are not drawn)")
    axes.set_ylabel(MILLISECONDS)
    axes.set_title(f"Response times, {points[0].clients} clients in closed loops; one trial", fontsize=10)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def rate_and_latency(run: Run) -> Figure | None:
    """Response times over the offered rate, a panel per system that was swept; open loop."""
    points = [point for point in run.of("sweep") if point.throughput and _has_times(point)]
    systems = sorted({(list(MIDDLEWARES).index(p.middleware), p.middleware, p.architecture) for p in points})
    if not systems:
        return None
    rows = (len(systems) + 1) // 2
    columns = min(2, len(systems))
    figure = Figure(figsize=(WIDTH, 2.6 * rows + 0.8))
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (_, middleware, architecture) in zip(panels, systems, strict=False):
        mine = [p for p in points if p.middleware == middleware and p.architecture == architecture]
        rates = [point.measurement.offered or 0.0 for point in mine]
        for name, style in LINES.items():
            times = [point.measurement.response_ms.get(name) or float("nan") for point in mine]
            axes.plot(rates, times, style, color=LOOKS[middleware].colour, label=name)
            for rate, time, point in zip(rates, times, mine, strict=True):
                if not point.is_valid and name == "p99":
                    mark_invalid(axes, rate, time)
        axes.set_title(f"{MIDDLEWARES[middleware].label}, {nodes(mine[0].nodes)}", fontsize=9)
        logarithmic(axes, y=True)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(THOUSANDS)
        axes.set_xlabel(f"offered {PER_SECOND}", fontsize=8)
        axes.tick_params(labelsize=8)
    for axes in list(panels):
        axes.set_visible(False)
    figure.supylabel(MILLISECONDS, fontsize=10)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(
        "Response time from the planned start, at 10-105 % of capacity (Poisson arrivals)", fontsize=10
    )
    return figure


def _has_times(point: Point) -> bool:
    """Tell whether there is anything to draw: a window with few requests has no percentiles."""
    return any(point.measurement.response_ms.get(name) for name in LINES)
