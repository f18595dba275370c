"""The short table at the end of a run."""

from rich.console import Console
from rich.table import Table

from lab.contract import Architecture
from lab.middlewares import MIDDLEWARES
from tests.harness.record import Point, Run


def print_table(run: Run) -> None:
    """Print what was measured, a line per system."""
    console = Console()
    if run.of("stress"):
        console.print(_stress_table(run))
    if run.of("speedup"):
        console.print(_speedup_table(run))


def _stress_table(run: Run) -> Table:
    depths = sorted({point.in_flight for point in run.of("stress")})
    table = Table(title="Requests per second, every reply checked; one trial", title_justify="left")
    table.add_column("system")
    for depth in depths:
        table.add_column(f"{depth} in flight/client", justify="right")
        table.add_column("p50 / p99 ms", justify="right")
    for name, middleware in MIDDLEWARES.items():
        for architecture in Architecture:
            points = run.of("stress", middleware=name, architecture=architecture)
            if not points:
                continue
            cells = []
            for depth in depths:
                mine = [point for point in points if point.in_flight == depth]
                cells += [_throughput(mine[-1]), _times(mine[-1])] if mine else ["", ""]
            table.add_row(f"{middleware.label}, {architecture}", *cells)
    return table


def _speedup_table(run: Run) -> Table:
    counts = sorted({point.nodes for point in run.of("speedup")})
    first = run.of("speedup")[0]
    title = f"Requests per second by nodes, {first.work} per text, {first.clients} in flight; (speedup)"
    table = Table(title=title, title_justify="left")
    table.add_column("middleware")
    for count in counts:
        table.add_column(f"{count} node{'s' if count > 1 else ''}", justify="right")
    for name, middleware in MIDDLEWARES.items():
        by_nodes = {point.nodes: point for point in run.of("speedup", middleware=name)}
        if by_nodes:
            base = by_nodes[1].throughput if 1 in by_nodes else 0.0
            table.add_row(middleware.label, *(_scaled(by_nodes.get(count), base) for count in counts))
    return table


def _scaled(point: Point | None, base: float) -> str:
    if point is None:
        return ""
    factor = f" ({point.throughput / base:.2f})" if base and point.throughput else ""
    return _throughput(point) + factor


def _throughput(point: Point) -> str:
    return f"{point.throughput:,.0f}" if point.throughput else "[red]requests lost[/red]"


def _times(point: Point) -> str:
    measured = point.measurement
    p50 = f"{measured.p50_ms:.2f}" if measured.p50_ms is not None else "-"
    p99 = f"{measured.p99_ms:.2f}" if measured.p99_ms is not None else "too few"
    return f"{p50} / {p99}"
