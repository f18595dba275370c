"""One colour and one marker per middleware, everywhere; Okabe and Ito's colours, for the colour-blind too."""

from itertools import cycle
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lab.middleware import MIDDLEWARES, VARIANTS


class Look(NamedTuple):
    """How a middleware is drawn."""

    colour: str
    marker: str
    is_solid: bool = False
    """A stock variant is drawn solid, a tuned one outlined."""

    @property
    def face(self) -> str:
        """What markers and bars are filled with."""
        return self.colour if self.is_solid else "white"


PALETTE = (
    Look("#0072B2", "o"),
    Look("#E69F00", "s"),
    Look("#D55E00", "^"),
    Look("#009E73", "D"),
    Look("#CC79A7", "v"),
    Look("#56B4E9", "P"),
    Look("#000000", "X"),
)
LOOKS = dict(zip(MIDDLEWARES, cycle(PALETTE), strict=False))
LOOKS |= {name: LOOKS[name.partition(":")[0]]._replace(is_solid=True) for name in VARIANTS if ":" in name}
GREY = "#666666"
INVALID = "#CC0000"
PER_SECOND = "requests per second"
WIDTH, HEIGHT = 7.0, 4.2
THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")
PLAIN = FuncFormatter(lambda value, _: f"{value:,.15g}")
SETTINGS: dict[Any, Any] = {
    "font.size": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "lab",
}


def logarithmic(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Make an axis logarithmic, with numbers that people read: 1,000 and not 10 to the third."""
    for wanted, axis, scale in ((x, axes.xaxis, axes.set_xscale), (y, axes.yaxis, axes.set_yscale)):
        if wanted:
            scale("log")
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(PLAIN)
            axis.set_minor_formatter(NullFormatter())


def legend(figure: Figure, *, columns: int = 4, length: float | None = None) -> None:
    """Explain every line once, below all panels."""
    panels = [axes.get_legend_handles_labels() for axes in figure.axes]
    named = {
        label: handle for handles, labels in panels for handle, label in zip(handles, labels, strict=True)
    }
    figure.legend(
        list(named.values()),
        list(named),
        loc="outside lower center",
        ncols=min(columns, len(named)),
        handlelength=length,
        frameon=False,
        fontsize=9,
    )


def mark_invalid(axes: Axes, x: float, y: float) -> None:
    """Cross out a point from which nothing may be concluded."""
    axes.plot([x], [y], marker="x", color=INVALID, markersize=9, markeredgewidth=2, zorder=5)
