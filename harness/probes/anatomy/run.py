"""A run of `lab anatomy`: its record, and what is made of it."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console

from harness.probes.anatomy.profile import Profile
from harness.probes.anatomy.words import anatomy_table, caveats, places
from harness.record.sheet import Sheet, read_sheet, save_figures, write_sheet
from harness.report.plots.anatomy import anatomy_figure
from lab.cli.brokers import say

EXPERIMENT = "anatomy"
PLAIN_WIDTH = 160
"""Where there is no terminal."""


@dataclass(slots=True, kw_only=True)
class AnatomyRun(Sheet):
    """The record."""

    experiment: str = EXPERIMENT
    profiles: list[Profile] = field(default_factory=list)


def finish(run: AnatomyRun, folder: Path) -> None:
    """Write the record and the plot."""
    write_sheet(run, folder)
    draw(run, folder)


def draw(run: AnatomyRun, folder: Path) -> None:
    """Draw the plot, if there is data."""
    save_figures({"anatomy": partial(anatomy_figure, run.profiles)}, folder / "plots")


def show(run: AnatomyRun, shown_places: int = 8) -> None:
    """Print the table, the dearest places of the code, and what to be careful about."""
    if any(one.repetitions for one in run.profiles):
        Console(width=None if Console().is_terminal else PLAIN_WIDTH).print(anatomy_table(run.profiles))
    for profile in run.profiles:
        if profile.repetitions:
            print("\n".join(places(profile, shown_places)))
    for line in [*run.notes, *(said for one in run.profiles for said in caveats(one)), run.busy]:
        if line:
            say(line)


def redraw(folder: Path) -> None:
    """Draw and print a stored run again."""
    run = read_sheet(folder / f"{EXPERIMENT}.json", AnatomyRun)
    draw(run, folder)
    show(run)
