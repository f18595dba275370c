"""Where the CPU time of a request goes."""

from matplotlib.figure import Figure

from harness.analysis.verdicts import best_points
from harness.record.run import Run
from harness.report.formatting import nodes
from harness.report.plots.style import WIDTH
from lab.middleware import MIDDLEWARES

COMPONENTS = {
    "generator": "#999999",
    "node": "#0072B2",
    "master": "#56B4E9",
    "name_server": "#56B4E9",
    "broadcaster": "#CC79A7",
    "redis": "#D55E00",
    "rabbitmq": "#009E73",
}
LABELS = {
    "generator": "load generator and client",
    "node": "nodes",
    "master": "master",
    "name_server": "name server",
    "broadcaster": "broadcaster",
    "redis": "Redis server",
    "rabbitmq": "RabbitMQ server",
}


def cpu_per_request(run: Run) -> Figure | None:
    """CPU milliseconds per request by component, one request in flight per client."""
    points = list(best_points(run, "requests"))[::-1]
    if not any(sum(point.cpu_ms.values()) for point in points):
        return None
    figure = Figure(figsize=(WIDTH, 0.42 * len(points) + 1.6))
    axes = figure.subplots()
    starts = [0.0] * len(points)
    for component, colour in COMPONENTS.items():
        spent = [point.cpu_ms.get(component, 0.0) for point in points]
        if not any(value > 0.002 * max(sum(point.cpu_ms.values()) for point in points) for value in spent):
            continue
        axes.barh(range(len(points)), spent, left=starts, color=colour, label=LABELS[component])
        starts = [start + value for start, value in zip(starts, spent, strict=True)]
    labels = [f"{MIDDLEWARES[point.middleware].label}, {nodes(point.nodes)}" for point in points]
    axes.set_yticks(range(len(points)), labels, fontsize=8)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("CPU milliseconds per request")
    axes.set_title(f"Where the CPU time goes, {points[0].clients} clients in closed loops", fontsize=10)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure
