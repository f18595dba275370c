"""Throughput over requests and over clients, the four side by side, and response times."""

from collections.abc import Callable, Sequence
from itertools import product

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.analysis.verdicts import IN_PAIRS, SHORTEST_SECONDS, best_points, guarantee_of, shown_points
from harness.record.measurement import PERCENTILES
from harness.record.run import Guarantee, Point, Run
from harness.report.faults import variant_name
from harness.report.formatting import nodes
from harness.report.plots.style import (
    HEIGHT,
    INVALID,
    LOOKS,
    PER_SECOND,
    THOUSANDS,
    WIDTH,
    legend,
    logarithmic,
    mark_invalid,
)
from lab.contract import Architecture

Value = Callable[[Point], float]

PANELS = {
    "requests": "one request in flight per client",
    "pipelined": "{} requests in flight per client",
    "accepted": "submit to result: the highest rate with a bounded backlog, {} submitters",
}


def over_requests(run: Run) -> Figure | None:
    """Throughput over the total number of requests, a panel per architecture."""
    points = [point for point in run.of("requests") if point.throughput and not point.block]
    if not points:
        return None
    figure = _panels(points, lambda point: point.measurement.done, "requests in all")
    figure.suptitle(
        f"Throughput, {points[0].application}, {points[0].clients} clients, one request in flight each; one "
        f"trial\nsmall markers: shorter than {SHORTEST_SECONDS:g} s, so indicative only",
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
    """All systems side by side, a panel for each load and each guarantee: those of a panel are compared."""
    shown: dict[tuple[str, Guarantee], list[Point]] = {}
    for study, kept in product(PANELS, Guarantee):
        points = [point for point in shown_points(run, study) if guarantee_of(run, point) is kept]
        if any(point.throughput for point in points):
            shown[study, kept] = [point for point in points if point.throughput]
    if not shown:
        return None
    rows = [len(points) + 3 for points in shown.values()]
    figure = Figure(figsize=(WIDTH, 0.19 * sum(rows) + 1.0))
    panels = figure.subplots(len(shown), 1, squeeze=False, height_ratios=rows)[:, 0]
    for axes, ((study, kept), points) in zip(panels, shown.items(), strict=True):
        _bars(axes, points)
        many = {point.clients if study == "accepted" else point.in_flight for point in points}
        load = PANELS[study].format(" or ".join(map(str, sorted(many))))
        axes.set_title(f"{load}; {kept}", fontsize=10)
        axes.set_xlabel(PER_SECOND)
    clients = next(iter(shown.values()))[0].clients
    figure.suptitle(f"{clients} clients. Solid: stock; outlined: tuned; hatched: n nodes", fontsize=11)
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
            for name in IN_PAIRS:
                if some := [point for point in mine if point.middleware == name]:
                    _line(axes, name, some, x_of, y_of)
            logarithmic(axes, x=True, y=y_of is _p99)
        panels[0].set_ylabel(y_label)
    for axes, architecture in zip(grid[0], measured, strict=True):
        number = next(point.nodes for point in points if point.architecture == architecture)
        axes.set_title(f"{architecture} ({nodes(number)})", fontsize=10)
        axes.yaxis.set_major_formatter(THOUSANDS)
        axes.set_ylim(bottom=0)
    for axes in grid[-1]:
        axes.set_xlabel(x_label)
    legend(figure)
    return figure


def _p99(point: Point) -> float:
    return point.measurement.response_ms.get("p99") or float("nan")


def _line(axes: Axes, name: str, points: Sequence[Point], x_of: Value, y_of: Value) -> None:
    look = LOOKS[name]
    xs, ys = [x_of(point) for point in points], [y_of(point) for point in points]
    axes.plot(xs, ys, color=look.colour, linewidth=1.2)
    axes.plot([], [], color=look.colour, marker=look.marker, mfc=look.face, label=variant_name(name))
    for x, y, point in zip(xs, ys, points, strict=True):
        is_long = point.measurement.seconds >= SHORTEST_SECONDS
        axes.plot(x, y, look.marker, color=look.colour, mfc=look.face, ms=6 if is_long else 3)
        if is_long and not point.is_valid:
            mark_invalid(axes, x, y)


def _bars(axes: Axes, points: Sequence[Point]) -> None:
    """Draw a bar for each system: solid stock, outlined tuned, hatched n nodes."""
    labels: list[str] = []
    for point in points:
        look, is_alone = LOOKS[point.middleware], point.architecture == Architecture.ONE_NODE
        bar = axes.barh(
            len(labels),
            point.throughput,
            height=0.75,
            facecolor=look.face,
            edgecolor="white" if look.is_solid and not is_alone else look.colour,
            hatch="" if is_alone else "///",
            linewidth=1.5,
        )
        note = "" if point.is_valid else "  invalid"
        colour = "black" if point.is_valid else INVALID
        axes.bar_label(bar, [f" {point.throughput:,.0f}{note}"], fontsize=8, color=colour)
        labels.append(f"{variant_name(point.middleware)}, {nodes(point.nodes)}")
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.15)
    axes.xaxis.set_major_formatter(THOUSANDS)


MILLISECONDS = "response time, ms"
LINES = {"p50": ":", "p95": "--", "p99": "-"}


def percentiles(run: Run) -> Figure | None:
    """Percentiles of the response time, one request in flight; by architecture, and by what is kept."""
    points = [point for point in best_points(run, "requests") if _has_times(point)]
    if not points:
        return None
    kept = [one for one in Guarantee if any(guarantee_of(run, point) is one for point in points)]
    measured = [one for one in Architecture if any(point.architecture == one for point in points)]
    figure = Figure(figsize=(WIDTH, HEIGHT * (0.4 + 0.75 * len(kept))))
    panels = figure.subplots(len(kept), len(measured), squeeze=False, sharey=True)
    for axes, (guarantee, architecture) in zip(panels.flat, product(kept, measured), strict=True):
        for point in points:
            if point.architecture == architecture and guarantee_of(run, point) is guarantee:
                _percentiles_of(axes, point)
        axes.set_xticks(range(len(PERCENTILES)), list(PERCENTILES))
        logarithmic(axes, y=True)
        axes.set_title(f"{architecture}; {guarantee}", fontsize=10)
    for axes in panels[:, 0]:
        axes.set_ylabel(MILLISECONDS)
    clients = points[0].clients
    figure.suptitle(
        f"Response times, {clients} clients, one request in flight each.\n"
        "Solid markers: stock; outlined: tuned. Percentiles with too few samples are not drawn",
        fontsize=10,
    )
    legend(figure)
    return figure


def _percentiles_of(axes: Axes, point: Point) -> None:
    look = LOOKS[point.middleware]
    times = [point.measurement.response_ms.get(name) for name in PERCENTILES]
    axes.plot(
        range(len(times)),
        [float("nan") if time is None else time for time in times],
        color=look.colour,
        marker=look.marker,
        mfc=look.face,
        label=variant_name(point.middleware),
    )


def rate_and_latency(run: Run) -> Figure | None:
    """Response times over the offered rate, a panel per system that was swept; open loop."""
    points = [point for point in run.of("sweep") if point.throughput and _has_times(point)]
    systems = sorted({(IN_PAIRS.index(p.middleware), p.middleware, p.architecture) for p in points})
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
        axes.set_title(f"{variant_name(middleware)}, {nodes(mine[0].nodes)}", fontsize=9)
        logarithmic(axes, y=True)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(THOUSANDS)
        axes.set_xlabel(f"offered {PER_SECOND}", fontsize=8)
        axes.tick_params(labelsize=8)
    for axes in list(panels):
        axes.set_visible(False)
    figure.supylabel(MILLISECONDS, fontsize=10)
    legend(figure)
    figure.suptitle(
        "Response time from the planned start, at 10-105 % of capacity (Poisson arrivals)", fontsize=10
    )
    return figure


def _has_times(point: Point) -> bool:
    """Tell whether there is anything to draw: a window with few requests has no percentiles."""
    return any(point.measurement.response_ms.get(name) for name in LINES)
