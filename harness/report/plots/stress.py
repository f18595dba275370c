"""Throughput over requests and over clients, the four side by side, and response times."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.analysis.verdicts import SHORTEST_SECONDS, best_points
from harness.record.measurement import PERCENTILES
from harness.record.run import Point, Run
from harness.report.formatting import nodes
from harness.report.plots.style import (
    HEIGHT,
    INVALID,
    LOOKS,
    PER_SECOND,
    THOUSANDS,
    WIDTH,
    logarithmic,
    mark_invalid,
)
from lab.contract import Architecture
from lab.middleware import MIDDLEWARES

Value = Callable[[Point], float]

PANELS = {
    "requests": "one request in flight per client",
    "pipelined": "many in flight per client (XML-RPC, Pyro4: batches)",
    "accepted": "submitted, and found in the result list",
}


def over_requests(run: Run) -> Figure | None:
    """Throughput over the total number of requests, a panel per architecture."""
    points = [point for point in run.of("requests") if point.throughput]
    if not points:
        return None
    figure = _panels(points, lambda point: point.measurement.done, "requests in all")
    figure.suptitle(
        f"Throughput, {points[0].application}, {points[0].clients} clients, one request in flight each; one "
        f"trial\nhollow: shorter than {SHORTEST_SECONDS:g} s, so indicative only",
        fontsize=10,
    )
    return figure


def over_clients(run: Run) -> Figure | None:
    """Throughput and response time over the number of clients, a column per architecture."""
    points = [point for point in run.of("clients") if point.throughput]
    if not points:
        return None
    label = "clients, one request in flight each"
    figure = _panels(points, lambda point: point.clients, label, with_times=True)
    figure.suptitle(
        f"Throughput and response time over clients, {points[0].application}; one trial", fontsize=10
    )
    return figure


def comparison(run: Run) -> Figure | None:
    """The four side by side: one request in flight per client, many, and from submission to result."""
    shown = {study: title for study, title in PANELS.items() if any(p.throughput for p in run.of(study))}
    if not shown:
        return None
    figure = Figure(figsize=(WIDTH, 2.7 * len(shown) + 0.5))
    panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axes, (study, title) in zip(panels, shown.items(), strict=True):
        _bars(axes, [point for point in run.of(study) if point.throughput])
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(PER_SECOND)
    clients = run.of(next(iter(shown)))[0].clients
    figure.suptitle(f"The four side by side: {clients} clients, one trial, the largest number of requests")
    return figure


def _panels(points: Sequence[Point], x_of: Value, x_label: str, *, with_times: bool = False) -> Figure:
    rows: list[tuple[str, Value]] = [(PER_SECOND, lambda point: point.throughput)]
    if with_times:
        rows.append(("p99 of the response time, ms", _p99))
    measured = [a for a in Architecture if any(point.architecture == a for point in points)]
    figure = Figure(figsize=(WIDTH, HEIGHT * (1.6 if with_times else 1)))
    grid = figure.subplots(len(rows), len(measured), sharey="row", sharex="col", squeeze=False)
    for panels, (y_label, y_of) in zip(grid, rows, strict=True):
        for axes, architecture in zip(panels, measured, strict=True):
            mine = [point for point in points if point.architecture == architecture]
            for name in {point.middleware: None for point in points}:
                _line(axes, name, [point for point in mine if point.middleware == name], x_of, y_of)
            logarithmic(axes, x=True, y=y_of is _p99)
        panels[0].set_ylabel(y_label)
    for axes, architecture in zip(grid[0], measured, strict=True):
        number = next(point.nodes for point in points if point.architecture == architecture)
        axes.set_title(f"{architecture} ({nodes(number)})", fontsize=10)
        axes.yaxis.set_major_formatter(THOUSANDS)
        axes.set_ylim(bottom=0)
    for axes in grid[-1]:
        axes.set_xlabel(x_label)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _p99(point: Point) -> float:
    return point.measurement.response_ms.get("p99") or float("nan")


def _line(axes: Axes, name: str, points: Sequence[Point], x_of: Value, y_of: Value) -> None:
    look, label = LOOKS[name], MIDDLEWARES[name].label
    xs, ys = [x_of(point) for point in points], [y_of(point) for point in points]
    axes.plot(xs, ys, marker=look.marker, markevery=[], color=look.colour, label=label)
    for x, y, point in zip(xs, ys, points, strict=True):
        is_long = point.measurement.seconds >= SHORTEST_SECONDS
        fill = look.colour if is_long else "white"
        axes.plot(x, y, look.marker, color=look.colour, markerfacecolor=fill, ms=5)
        if is_long and not point.is_valid:
            mark_invalid(axes, x, y)


def _bars(axes: Axes, points: Sequence[Point]) -> None:
    labels: list[str] = []
    for name in reversed(MIDDLEWARES):
        for architecture in reversed(Architecture):
            mine = [p for p in points if p.middleware == name and p.architecture == architecture]
            if not mine:
                continue
            last = mine[-1]
            is_alone = architecture is Architecture.ONE_NODE
            bar = axes.barh(
                len(labels),
                last.throughput,
                color=LOOKS[name].colour,
                alpha=1.0 if is_alone else 0.55,
                hatch="" if is_alone else "//",
                edgecolor="white",
            )
            note = "" if last.is_valid else "  invalid"
            axes.bar_label(
                bar,
                [f" {last.throughput:,.0f}{note}"],
                fontsize=8,
                color="black" if last.is_valid else INVALID,
            )
            labels.append(f"{MIDDLEWARES[name].label}, {nodes(last.nodes)}")
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.15)
    axes.xaxis.set_major_formatter(THOUSANDS)


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
