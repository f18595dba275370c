"""Draw a run: PNG and SVG, from data alone."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from tests.harness.plots.latency import percentiles, rate_and_latency
from tests.harness.plots.resources import cpu_per_request
from tests.harness.plots.speedup import efficiency, speedup
from tests.harness.plots.stress import comparison, over_clients, over_requests
from tests.harness.plots.style import SETTINGS
from tests.harness.record import Run

PLOTS: dict[str, Callable[[Run], Figure | None]] = {
    "comparison": comparison,
    "throughput-over-requests": over_requests,
    "throughput-over-clients": over_clients,
    "response-times": percentiles,
    "rate-and-response-time": rate_and_latency,
    "speedup": speedup,
    "efficiency": efficiency,
    "cpu-per-request": cpu_per_request,
}
DPI = 130


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw every plot that *run* has data for into *folder*; return the PNG files."""
    folder.mkdir(exist_ok=True)
    drawn = []
    with mpl.rc_context(SETTINGS):
        for name, plot in PLOTS.items():
            figure = plot(run)
            for ending in ("svg", "png"):
                path = folder / f"{name}.{ending}"
                path.unlink(missing_ok=True)  # drawn again, it may have no data any more
                if figure:
                    figure.savefig(path, dpi=DPI)
            if figure:
                drawn.append(folder / f"{name}.png")
    return drawn
