"""The end of an experiment: data, plots, report and tables from what was measured."""

from pathlib import Path

from harness.record.run import Run, losses, write_run
from harness.report.page import write_report
from harness.report.plots import draw
from harness.report.table import print_table
from lab.cli.brokers import say


def finish(run: Run, folder: Path) -> None:
    """Write the data, draw it, and say where everything is."""
    run.notes += [f"LOST: {sentence}" for sentence in losses(run)]
    path = write_run(run, folder)
    plots = draw(run, folder / "plots")
    report = write_report(run, folder)
    print_table(run)
    for note in run.notes:
        say(note)
    say(f"data:   {path}")
    say(f"plots:  {plots[0].parent if plots else 'none, for want of data'}")
    say(f"report: {report}")
