"""A run of `lab growth`: its record, and what is made of it."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.experiment.growth.curve import MILLISECONDS, Curve, Size
from harness.experiment.thresholds.finding import Verdict
from harness.experiment.thresholds.words import lines
from harness.record.sheet import Sheet, read_sheet, save_figures, write_sheet
from harness.report.plots.growth import growth_figure
from lab.cli.brokers import say

EXPERIMENT = "growth"
PLAIN_WIDTH = 160
"""Where there is no terminal."""


@dataclass(slots=True, kw_only=True)
class GrowthRun(Sheet):
    """The record."""

    experiment: str = EXPERIMENT
    curves: list[Curve] = field(default_factory=list)

    @property
    def studies(self) -> list[str]:
        """What grew, in the order of its measurement."""
        return list(dict.fromkeys(curve.study for curve in self.curves))

    @property
    def missed(self) -> list[Curve]:
        """The curves shown to miss their bar: the whole interval lies below it."""
        judged = [(curve, curve.finding) for curve in self.curves if curve.bar is not None]
        return [curve for curve, found in judged if found.verdict is Verdict.MISSED and not found.is_close]


def finish(run: GrowthRun, folder: Path) -> None:
    """Write the record and the plots."""
    write_sheet(run, folder)
    draw(run, folder)


def draw(run: GrowthRun, folder: Path) -> None:
    """Draw a plot for each study that has data."""
    figures = {f"growth-{study}": partial(growth_figure, study, run.curves) for study in run.studies}
    save_figures(figures, folder / "plots")


def show(run: GrowthRun) -> None:
    """Print a table per study, the verdict of what has a bar, and what to be careful about."""
    console = Console(width=None if Console().is_terminal else PLAIN_WIDTH)
    for study in run.studies:
        console.print(_table(study, [curve for curve in run.curves if curve.study == study]))
    for curve in run.curves:
        if curve.bar is not None:
            print(lines(curve.finding)[0])
        elif curve.missing:
            print(f"{curve.study}: {curve.label}, {curve.title}: {curve.missing}")
    for curve in run.curves:
        for one in curve.sizes:
            if not one.is_valid:
                said = "; ".join(one.objections)
                print(f"INVALID  {curve.study}: {curve.label}, {curve.title}, {one.size:,}: {said}")
    for line in [*run.notes, run.busy]:
        if line:
            say(line)


def redraw(folder: Path) -> None:
    """Draw and print a stored run again."""
    run = read_sheet(folder / f"{EXPERIMENT}.json", GrowthRun)
    draw(run, folder)
    show(run)


def _table(study: str, curves: list[Curve]) -> Table:
    table = Table(title=f"As {study} grow (memory in MiB: all components)", title_justify="left")
    table.add_column("what")
    counts = sorted({one.size for curve in curves for one in curve.sizes})
    for count in counts:
        table.add_column(f"{count:,}", justify="right")
    for curve in curves:
        cells = {one.size: _cell(curve, one) for one in curve.sizes}
        table.add_row(f"{curve.label}, {curve.title}", *(cells.get(count, "") for count in counts))
    return table


def _cell(curve: Curve, size: Size) -> str:
    value = f"{size.median:,.1f} ms" if curve.unit == MILLISECONDS else f"{size.median:,.0f}/s"
    text = f"{value}, {sum(size.memory_mib.values()):,.0f} MiB"
    return text if size.is_valid else f"[red]invalid {text}[/red]"
