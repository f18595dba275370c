"""The short tables at the end of a run."""

from collections.abc import Iterator
from typing import cast

from rich.console import Console
from rich.table import Table

from harness.analysis.growth import curves
from harness.analysis.verdicts import Speedup, factors, speedups
from harness.record.run import Point, Run, is_refusal
from harness.report.anatomy import anatomy_table, places
from harness.report.conclusions import conclusions, heading
from harness.report.faults import LEDGER, fault_table, harm_meanings, variant_name
from harness.report.findings import finding_lines, growth_table, invalid_lines, library_table
from harness.report.formatting import (
    capacity,
    milliseconds,
    nodes,
    shown_systems,
    study_titles,
    system_name,
    times,
)
from harness.report.scaling import scaling_table, scalings_by_profile
from lab.middleware import MIDDLEWARES

PLAIN_WIDTH = 160
"""Where there is no terminal."""
USUAL_PLACES = 8
"""Places of the code that are named for each process."""


def print_table(run: Run) -> None:
    """Print what was measured, a line per system."""
    console = Console(width=None if Console().is_terminal else PLAIN_WIDTH)
    if study_titles(run):
        console.print(_stress_table(run))
    if factored := _factor_table(run):
        console.print(factored)
    found = speedups(run)
    for work in sorted({speedup.work for speedup in found}):
        console.print(_speedup_table([speedup for speedup in found if speedup.work == work]))
    if run.capacities:
        console.print(_capacity_table(run))
    for policies in scalings_by_profile(run).values():
        console.print(scaling_table(policies))
    if run.faults:
        console.print(fault_table(run.faults))
        counted = {name: LEDGER[name] for name in ("acknowledged", "applied")}
        for word, meaning in (harm_meanings(run.faults) | counted).items():
            print(f"{word}: {meaning}")
    if run.libraries:
        console.print(library_table(run.libraries))
    if any(one.repetitions for one in run.profiles):
        console.print(anatomy_table(run.profiles))
    grown = curves(run)
    for study in dict.fromkeys(curve.study for curve in grown):
        console.print(growth_table(study, [curve for curve in grown if curve.study == study]))
    for line in found_lines(run):
        print(line)
    if said := conclusions(run):
        print(heading(run))
    for line in said:
        print(f"- {line}")


def found_lines(run: Run) -> Iterator[str]:
    """Yield what is no table."""
    for finding in run.findings:
        yield from finding_lines(finding)
    for curve in curves(run):
        yield from invalid_lines(curve)
    for profile in run.profiles:
        if profile.repetitions:
            yield from places(profile, cast(int, run.configuration.get("places", USUAL_PLACES)))


def _stress_table(run: Run) -> Table:
    shown = study_titles(run)
    table = Table(title="Requests per second (p99 in ms), every reply checked", title_justify="left")
    for title in ("system", "kept"):
        table.add_column(title)
    for title in shown.values():
        table.add_column(title, justify="right")
    for names, points in shown_systems(run).items():
        table.add_row(*names, *(_cell(points[study]) if study in points else "" for study in shown))
    return table


def _factor_table(run: Run) -> Table | None:
    """Return how many times the rate of stock the tuned variants made."""
    rows = factor_rows(run)
    if not rows:
        return None
    table = Table(title="Tuned over stock (lowest and highest of the repetitions)", title_justify="left")
    for title in ("middleware", *study_titles(run).values()):
        table.add_column(title)
    for row in rows:
        table.add_row(*row)
    return table


def factor_rows(run: Run) -> list[list[str]]:
    """Return a row for each middleware and architecture: its name, and its factor in each study."""
    found: dict[str, dict[str, str]] = {}
    for study in study_titles(run):
        for one in factors(run, study):
            kept = f", {one.guarantee}" * bool(one.guarantee)
            name = f"{MIDDLEWARES[one.middleware].label}, {one.architecture}{kept}"
            found.setdefault(name, {})[study] = times(one.estimate)
    return [[name, *(row.get(study, "-") for study in study_titles(run))] for name, row in found.items()]


def _cell(point: Point) -> str:
    if not point.measurement.throughput:
        return "refused" if is_refusal(point) else "[red]requests lost[/red]"
    text = f"{point.throughput:,.0f} ({milliseconds(point.measurement.response_ms.get('p99'))})"
    return text if point.is_valid else f"[red]invalid {text}[/red]"


def _speedup_table(found: list[Speedup]) -> Table:
    counts = sorted({count for speedup in found for count in speedup.estimates})
    how = "repetitions: lowest to highest" if found[0].estimates[1].is_range else "trials: 95 % intervals"
    title = f"Speedup, {found[0].work} per text ({how}), and % of n x {found[0].ideal:,.4g}/s, its ideal"
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
            else:
                has_ends = estimate.low is not None and number > 1
                ends = f" ({estimate.low:.2f}-{estimate.high:.2f})" if has_ends else ""
                cells.append(f"{estimate.value:.2f}{ends}, {speedup.share_of_ideal(number).value:.0%}")
        table.add_row(variant_name(speedup.middleware), *cells)
    return table


def _capacity_table(run: Run) -> Table:
    table = Table(title="Capacity: the highest rate sustained", title_justify="left")
    for title in ("system", "capacity", "p99 within"):
        table.add_column(title)
    for found in run.capacities:
        name = system_name(found.middleware, found.architecture)
        table.add_row(name, capacity(found), f"{found.objective_ms:g} ms")
    return table
