"""The short tables at the end of a run."""

from rich.console import Console
from rich.table import Table

from lab.contract import Architecture
from lab.middlewares import MIDDLEWARES
from tests.harness.record import Point, Run
from tests.harness.verdicts import Speedup, speedups
from tests.harness.words import capacity, milliseconds, nodes, system_name

STUDIES = {"requests": "1 in flight/client", "pipelined": "many in flight", "accepted": "submit to result"}


def print_table(run: Run) -> None:
    """Print what was measured, a line per system."""
    console = Console()
    if any(run.of(study) for study in STUDIES):
        console.print(_stress_table(run))
    found = speedups(run)
    for work in sorted({speedup.work for speedup in found}):
        console.print(_speedup_table([speedup for speedup in found if speedup.work == work]))
    if run.capacities:
        console.print(_capacity_table(run))


def _stress_table(run: Run) -> Table:
    shown = {study: title for study, title in STUDIES.items() if run.of(study)}
    table = Table(title="Requests per second, every reply checked; one trial", title_justify="left")
    table.add_column("system")
    for title in shown.values():
        table.add_column(title, justify="right")
        table.add_column("p50 / p99 ms", justify="right")
    for name in MIDDLEWARES:
        for architecture in Architecture:
            cells: list[str] = []
            for study in shown:
                points = run.of(study, middleware=name, architecture=architecture)
                cells += _cells(points[-1]) if points else ["", ""]
            if any(cells):
                table.add_row(system_name(name, architecture), *cells)
    return table


def _cells(point: Point) -> list[str]:
    if not point.measurement.throughput:
        return ["[red]requests lost[/red]", ""]
    colour = ("", "") if point.is_valid else ("[red]", " invalid[/red]")
    times = [milliseconds(point.measurement.response_ms.get(name)) for name in ("p50", "p99")]
    return [f"{colour[0]}{point.throughput:,.0f}{colour[1]}", " / ".join(times)]


def _speedup_table(found: list[Speedup]) -> Table:
    counts = sorted({count for speedup in found for count in speedup.estimates})
    title = f"Speedup, {found[0].work} per text, with 95 % intervals"
    table = Table(title=title, title_justify="left")
    table.add_column("middleware")
    for number in counts:
        table.add_column(nodes(number), justify="right")
    for speedup in found:
        cells = []
        for number in counts:
            estimate = speedup.estimates.get(number)
            if estimate is None:
                cells.append("")
            elif estimate.low is None or estimate.high is None or number == 1:
                cells.append(f"{estimate.value:.2f}")
            else:
                cells.append(f"{estimate.value:.2f} ({estimate.low:.2f}-{estimate.high:.2f})")
        table.add_row(MIDDLEWARES[speedup.middleware].label, *cells)
    return table


def _capacity_table(run: Run) -> Table:
    table = Table(title="Capacity: the highest rate sustained", title_justify="left")
    for title in ("system", "capacity", "p99 within"):
        table.add_column(title)
    for found in run.capacities:
        name = system_name(found.middleware, found.architecture)
        table.add_row(name, capacity(found), f"{found.objective_ms:g} ms")
    return table
