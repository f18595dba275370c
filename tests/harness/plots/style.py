"""One colour and one marker per middleware, everywhere; Okabe and Ito's colours, for the colour-blind too."""

from typing import Any, NamedTuple

from lab.middlewares import MIDDLEWARES


class Look(NamedTuple):
    """How a middleware is drawn."""

    colour: str
    marker: str


LOOKS = dict(
    zip(
        MIDDLEWARES,
        (Look("#0072B2", "o"), Look("#E69F00", "s"), Look("#D55E00", "^"), Look("#009E73", "D")),
        strict=True,
    )
)
GREY = "#666666"
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
