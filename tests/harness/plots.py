"""Draw a run: PNG and SVG, from data alone."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lab.contract import Architecture
from lab.middlewares import MIDDLEWARES
from tests.harness.record import Point, Run
from tests.harness.style import GREY, LOOKS, SETTINGS

WIDTH, HEIGHT = 7.0, 4.2
PER_SECOND = "requests per second"
_THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw every plot that *run* has data for into *folder*; return the PNG files."""
    plots: dict[str, Callable[[Run], Figure | None]] = {
        "throughput-over-requests": over_requests,
        "comparison": comparison,
        "speedup": speedup,
    }
    folder.mkdir(exist_ok=True)
    drawn = []
    with mpl.rc_context(SETTINGS):
        for name, plot in plots.items():
            figure = plot(run)
            if figure is None:
                continue
            for ending in ("svg", "png"):
                path = folder / f"{name}.{ending}"
                figure.savefig(path, dpi=130)
            drawn.append(path)
    return drawn


def over_requests(run: Run) -> Figure | None:
    """Throughput over the total number of requests, a panel per architecture."""
    points = [point for point in run.of("stress", in_flight=1) if point.measurement.throughput]
    if not points:
        return None
    figure = Figure(figsize=(WIDTH, HEIGHT))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, architecture in zip(panels, Architecture, strict=True):
        for name, look in LOOKS.items():
            mine = [p for p in points if p.middleware == name and p.architecture == architecture]
            axes.plot(
                [p.measurement.done for p in mine],
                [p.throughput for p in mine],
                color=look.colour,
                marker=look.marker,
                markersize=5,
                label=MIDDLEWARES[name].label,
            )
        axes.set_title(_architecture(points, architecture), fontsize=10)
        axes.set_xscale("log")
        axes.set_xlabel("requests in all")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_THOUSANDS)
    panels[0].set_ylabel(PER_SECOND)
    panels[0].set_ylim(bottom=0)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"Throughput, filter, {points[0].clients} clients, one request in flight each; one trial")
    return figure


def comparison(run: Run) -> Figure | None:
    """The four side by side: one request in flight per client, and many."""
    points = [point for point in run.of("stress") if point.measurement.throughput]
    depths = sorted({point.in_flight for point in points})
    if not points:
        return None
    figure = Figure(figsize=(WIDTH, 2.9 * len(depths) + 0.4))
    panels = figure.subplots(len(depths), 1, squeeze=False)[:, 0]
    for axes, depth in zip(panels, depths, strict=True):
        _bars(axes, [point for point in points if point.in_flight == depth])
        how = "one request in flight each" if depth == 1 else f"{depth} requests in flight each"
        note = "" if depth == 1 else f" (XML-RPC and Pyro4: batches of {depth})"
        axes.set_title(f"{points[0].clients} clients, {how}{note}", fontsize=10)
        axes.set_xlabel(PER_SECOND)
    figure.suptitle("The four side by side: filter, one trial, the largest number of requests")
    return figure


def speedup(run: Run) -> Figure | None:
    """Throughput at each number of nodes as a multiple of that at one, and the ideal."""
    points = [point for point in run.of("speedup") if point.measurement.throughput]
    if not points:
        return None
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = figure.subplots()
    most = max(point.nodes for point in points)
    axes.plot([1, most], [1, most], color=GREY, linestyle="--", linewidth=1, label="ideal")
    for name, look in LOOKS.items():
        mine = [point for point in points if point.middleware == name]
        base = next((point.throughput for point in mine if point.nodes == 1), None)
        if base is None:
            continue
        label = f"{MIDDLEWARES[name].label} ({mine[-1].throughput / base:.2f} at {mine[-1].nodes})"
        axes.plot(
            [point.nodes for point in mine],
            [point.throughput / base for point in mine],
            color=look.colour,
            marker=look.marker,
            label=label,
        )
    axes.set_xticks(sorted({point.nodes for point in points}))
    axes.set_xlabel("nodes")
    axes.set_ylabel("speedup (throughput / throughput at 1 node)")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.set_title(
        f"Speedup, n-node, {points[0].work} per text, {points[0].clients} requests in flight; one trial",
        fontsize=10,
    )
    return figure


def _bars(axes: Axes, points: list[Point]) -> None:
    labels: list[str] = []
    for name in reversed(list(MIDDLEWARES)):
        for architecture in reversed(list(Architecture)):
            mine = [p for p in points if p.middleware == name and p.architecture == architecture]
            if not mine:
                continue
            best = mine[-1]
            bar = axes.barh(
                len(labels),
                best.throughput,
                color=LOOKS[name].colour,
                alpha=1.0 if architecture is Architecture.ONE_NODE else 0.55,
                hatch="" if architecture is Architecture.ONE_NODE else "//",
                edgecolor="white",
            )
            axes.bar_label(bar, fmt=lambda value: f" {value:,.0f}", fontsize=8)
            labels.append(f"{MIDDLEWARES[name].label}, {_nodes(best.nodes)}")
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter(_THOUSANDS)


def _architecture(points: list[Point], architecture: Architecture) -> str:
    nodes = {point.nodes for point in points if point.architecture == architecture}
    return f"{architecture} ({_nodes(max(nodes))})" if nodes else f"{architecture} (not measured)"


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
