"""The end of an experiment: data, plots, report and tables from what was measured."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from harness.record.journal import write_run
from harness.record.recorder import CannotKeep, keeping
from harness.record.run import Run, losses
from harness.report.formatting import busy
from harness.report.page import write_report
from harness.report.plots import draw
from harness.report.table import print_table
from lab.cli.brokers import say


def finish(run: Run, folder: Path, *, as_table: bool = True) -> bool:
    """Write the data, draw it, and say where everything is; return whether it is all in *folder*.

    Where *folder* cannot hold it, it is written to a new temporary folder. If there is no room at all, the
    record is printed, so that it is not lost.
    """
    run.notes += [said for said in (f"LOST: {one}" for one in losses(run)) if said not in run.notes]
    if as_table:
        print_table(run)
    for note in [*run.notes, *filter(None, [busy(run)])]:
        say(note)
    for place in _places(folder):
        try:
            with keeping(place):
                _write(run, place)
        except CannotKeep as error:
            say(f"NOT WRITTEN: {error.message}")
        else:
            return place == folder
    say("nothing can be written: the record follows on standard output; keep it as run.json")
    print(json.dumps(asdict(run)))
    return False


def _places(folder: Path) -> Iterator[Path]:
    yield folder
    try:
        yield Path(tempfile.mkdtemp(prefix="lab-results-"))
    except OSError as error:
        say(f"NOT WRITTEN: {tempfile.gettempdir()}: cannot be written: {error.strerror}")


def _write(run: Run, folder: Path) -> None:
    say(f"data:   {write_run(run, folder)}")
    plots = draw(run, folder / "plots")
    say(f"plots:  {plots[0].parent if plots else 'none, for want of data'}")
    say(f"report: {write_report(run, folder)}")
