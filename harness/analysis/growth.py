"""How what was measured changes as there is more of something: curves of the points of `lab growth`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from harness.record.run import Point, Run
from lab.contract import Architecture
from lab.middleware import MIDDLEWARES

PER_SECOND, MILLISECONDS = "/s", "ms"
TICKS = "subscribers"
"""The study whose values are how long a tick takes to reach the last subscriber."""
STUDIES = ("insults", TICKS, "clients", "nodes", "requests made")


@dataclass(frozen=True, slots=True)
class Size:
    """*values* are those of its windows, in their order; windows of one number were paired."""

    size: int
    values: Sequence[float]
    memory_mib: dict[str, float] = field(default_factory=dict)
    """Resident, by component, the harness's being "harness"."""
    objections: Sequence[str] = ()
    """Why it is invalid; empty: it is valid."""

    @property
    def is_short(self) -> bool:
        """Tell whether it is only indicative, as the first requests of a ramp are by design."""
        return any(said.startswith("too short") for said in self.objections)

    @property
    def is_valid(self) -> bool:
        """Tell whether conclusions may be drawn from it."""
        return not self.objections or self.is_short

    @property
    def median(self) -> float:
        """The value that is drawn."""
        return median(self.values)


@dataclass(frozen=True, slots=True)
class Curve:
    """What grew, over which middleware, and what was measured."""

    study: str
    middleware: str
    what: str
    """What was measured, such as "insult_me"."""
    place: str = ""
    """Where what grows is kept, where that differs: "in Redis" or "in memory"."""
    unit: str = PER_SECOND
    sizes: Sequence[Size] = ()
    bar: float | None = None
    """The share of the smallest size's rate that the largest must keep; None: nothing is asked."""

    @property
    def label(self) -> str:
        """What plots call the middleware."""
        return MIDDLEWARES[self.middleware].label

    @property
    def title(self) -> str:
        """What was measured, and where it was kept."""
        return f"{self.what}, {self.study} {self.place}" if self.place else self.what


def curves(run: Run) -> list[Curve]:
    """Return the curves of *run*, those of a study together; none of another experiment than growth."""
    grouped: dict[tuple[str, str, str, str], list[Point]] = {}
    for point in run.points if run.experiment == "growth" else ():
        key = (point.experiment, point.middleware, _what(point), _place(point))
        grouped.setdefault(key, []).append(point)
    bars = {one.row: one.bar for one in run.findings if one.unit == "x"}
    found = [
        Curve(
            study,
            middleware,
            what,
            place,
            MILLISECONDS if study == TICKS else PER_SECOND,
            _sizes(points),
            bars.get(study),
        )
        for (study, middleware, what, place), points in grouped.items()
        if study in STUDIES
    ]
    return sorted(found, key=lambda curve: STUDIES.index(curve.study))


def _sizes(points: Sequence[Point]) -> list[Size]:
    by_size: dict[int, list[Point]] = {}
    for point in points:
        by_size.setdefault(int(point.factors[point.experiment]), []).append(point)
    return [_size(size, some) for size, some in sorted(by_size.items()) if all(map(_value, some))]


def _size(size: int, points: Sequence[Point]) -> Size:
    """Gather the windows of a size; the memory is the highest of them."""
    memory: dict[str, float] = {}
    for point in points:
        for name, mib in point.usage.rss_mib.items():
            memory[name] = max(mib, memory.get(name, 0.0))
    said = dict.fromkeys(objection for point in points for objection in point.objections)
    return Size(size, [_value(point) for point in points], memory, list(said))


def _value(point: Point) -> float:
    if point.experiment == TICKS:
        return point.measurement.response_ms.get("p50") or 0.0
    return point.throughput


def _what(point: Point) -> str:
    if point.experiment == TICKS:
        return "due tick to last subscriber"
    depth = f"filter, {point.in_flight} in flight"
    return point.factors.get("operation") or (f"filter, {point.work} per text" if point.work else depth)


def _place(point: Point) -> str:
    if point.experiment != "insults":
        return ""
    return "in Redis" if point.architecture == Architecture.N_NODE else "in memory"
