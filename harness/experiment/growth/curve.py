"""One curve: the same measurement at growing sizes, and the memory that went with it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from harness.experiment.bench import Bench
from harness.experiment.thresholds.finding import Finding, ratios
from harness.probes.resources import Meter, Pids
from lab.middlewares import MIDDLEWARES
from lab.process.system import BrokerUrls

PER_SECOND, MILLISECONDS = "/s", "ms"
HARNESS = ""
"""In place of a middleware: the harness alone, against nothing."""


@dataclass(frozen=True, slots=True)
class Size:
    """*values* are those of its windows (or ticks), in their order; windows of one number were paired."""

    size: int
    values: Sequence[float]
    memory_mib: dict[str, float] = field(default_factory=dict)
    """Resident, by component, the harness's being "harness"."""
    objections: Sequence[str] = ()
    """Why nothing may be concluded from it; empty: it is valid."""

    @property
    def is_short(self) -> bool:
        """Tell whether it is only indicative, as the first requests of a ramp are by design."""
        return bool(self.objections) and all(said.startswith("too short") for said in self.objections)

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
    missing: str = ""
    """Why it was not measured, or not to its end."""

    @property
    def label(self) -> str:
        """What plots call the middleware."""
        return MIDDLEWARES[self.middleware].label if self.middleware else "the harness alone"

    @property
    def title(self) -> str:
        """What was measured, and where it was kept."""
        return f"{self.what}, {self.study} {self.place}" if self.place else self.what

    @property
    def finding(self) -> Finding:
        """The largest size against the smallest, in pairs, of a curve that has a bar."""
        what = f"{self.study}: {self.label}, {self.title}"
        measured = [one for one in self.sizes if one.values]
        if len(measured) < 2:
            return Finding(self.study, what, missing=self.missing or "too few sizes were measured")
        few, many = measured[0], measured[-1]
        names = [f"{one.size:,}" for one in (many, few)]
        return Finding(
            self.study,
            f"{what}, {names[0]} against {names[1]}",
            ratios(many.values, few.values),
            self.bar,
            notes=[self.missing] if self.missing else [],
            objections=[f"{one.size:,}: {said}" for one in (few, many) for said in one.objections],
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """How a run measures: *windows* of *seconds* for each of *sizes*."""

    bench: Bench
    sizes: Sequence[int]
    windows: int
    seconds: float
    is_full: bool = False

    @property
    def urls(self) -> BrokerUrls:
        """Where the brokers are."""
        return self.bench.brokers


Study = Callable[[str, Terms], Iterator[Curve]]
"""Measures one middleware."""


def resident(pids: Pids) -> dict[str, float]:
    """Return the resident mebibytes of each component now."""
    with Meter(pids) as meter:
        pass
    return meter.usage.rss_mib


def turning(sizes: Sequence[int], windows: int) -> Iterator[int]:
    """Yield each of *sizes* once per window, in turning order, so that a drift favours none."""
    for number in range(windows):
        yield from list(sizes)[:: -1 if number % 2 else 1]
