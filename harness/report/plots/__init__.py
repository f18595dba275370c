"""Draw a run: PNG and SVG, from data alone."""

from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from harness.record.run import Run
from harness.report.plots.cpu import anatomy_figure, cpu_per_request
from harness.report.plots.faults import timelines
from harness.report.plots.findings import growths, thresholds_figure, tornados
from harness.report.plots.scaling import scaling
from harness.report.plots.speedup import efficiency, speedup
from harness.report.plots.stress import comparison, over_clients, over_requests, percentiles, rate_and_latency
from harness.report.plots.style import SETTINGS

PLOTS: dict[str, Callable[[Run], Figure | None]] = {
    "comparison": comparison,
    "throughput-over-requests": over_requests,
    "throughput-over-clients": over_clients,
    "response-times": percentiles,
    "rate-and-response-time": rate_and_latency,
    "speedup": speedup,
    "efficiency": efficiency,
    "cpu-per-request": cpu_per_request,
    "thresholds": lambda run: thresholds_figure(run.findings),
    "anatomy": lambda run: anatomy_figure(run.profiles),
}
FAMILIES: dict[str, Callable[[Run], dict[str, Figure]]] = {
    "scaling": scaling,
    "faults": timelines,
    "tornado": tornados,
    "growth": growths,
}
"""Plots of which there are several: the file's name begins with the family's and ends with the figure's."""
DPI = 130


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw every plot that *run* has data for into *folder*, and nothing else; return the PNG files."""
    folder.mkdir(exist_ok=True)
    for old in (*folder.glob("*.svg"), *folder.glob("*.png")):  # drawn again, it may have no data any more
        old.unlink()
    drawn = []
    with mpl.rc_context(SETTINGS):
        for name, figure in _figures(run):
            for ending in ("svg", "png"):
                figure.savefig(folder / f"{name}.{ending}", dpi=DPI)
            drawn.append(folder / f"{name}.png")
    return drawn


def _figures(run: Run) -> Iterator[tuple[str, Figure]]:
    for name, plot in PLOTS.items():
        figure = plot(run)
        if figure:
            yield name, figure
    for family, plots in FAMILIES.items():
        for name, figure in plots(run).items():
            yield f"{family}-{name}", figure
