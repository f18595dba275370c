"""What was measured of one system: repetitions, and the parts that follow from them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from harness.statistics import Estimate, mean_estimate, throughput_estimate
from lab.topology import NODE

HARNESS, TRANSPORT, PARSING = "harness", "transport", "parsing"
THREADS, HANDLING, APPLICATION, UNKNOWN = "threads", "handling", "application", "unknown"
PARTS = {
    HARNESS: "load generator",
    HANDLING: "handling",
    THREADS: "threads",
    PARSING: "parsing",
    TRANSPORT: "transport",
    APPLICATION: "application",
    UNKNOWN: "not attributed",
}
"""Their names in words, in the order in which they are drawn."""

GENERATOR = "generator"
Segment = tuple[str, str]
"""A component and a part of it; the part is empty where a component is only known as a whole."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """Two windows in turn. The one without sampling tells what a request costs, the other how it divides."""

    plain_rate: float
    sampled_rate: float
    cpu_ms: dict[str, float]
    """Per request, by component, without sampling."""
    sampled_cpu_ms: dict[str, float]
    samples: dict[str, dict[str, int]]
    """How many stacks of each part were seen, by component that was sampled."""

    def parts(self) -> dict[Segment, float]:
        """Return the milliseconds of each segment; together they are those of :attr:`cpu_ms`."""
        found: dict[Segment, float] = {}
        for component, spent in self.cpu_ms.items():
            if component not in self.samples:
                found[component, ""] = spent
                continue
            seen = self.samples[component]
            total = sum(seen.values())
            shares = {part: seen.get(part, 0) / total for part in PARTS} if total else {UNKNOWN: 1.0}
            found |= {(component, part): spent * share for part, share in shares.items()}
        return found


@dataclass(frozen=True, slots=True)
class Profile:
    """The anatomy of a request to one system."""

    middleware: str
    architecture: str
    application: str
    nodes: int
    clients: int
    repetitions: Sequence[Repetition] = ()
    places: dict[str, dict[str, int]] = field(default_factory=dict)
    """How many stacks were seen at each place (file:function), by component, of all repetitions."""
    objections: Sequence[str] = ()
    """Why windows must not be concluded from, such as load generators that were the limit."""
    missing: str = ""
    """Why it was not measured at all."""

    @property
    def segments(self) -> dict[Segment, Estimate]:
        """The mean milliseconds per request of each segment; their values add up to :attr:`total`'s."""
        each = [one.parts() for one in self.repetitions]
        names = dict.fromkeys(name for parts in each for name in parts)
        return {name: mean_estimate([parts.get(name, 0.0) for parts in each]) for name in ordered(names)}

    @property
    def total(self) -> Estimate:
        """The mean milliseconds per request of all components."""
        return mean_estimate([sum(one.cpu_ms.values()) for one in self.repetitions])

    @property
    def rate(self) -> Estimate:
        """Requests per second without sampling."""
        return throughput_estimate([one.plain_rate for one in self.repetitions])

    @property
    def slowed(self) -> Estimate:
        """The rate with sampling over that without, in pairs: near 1, sampling changed little."""
        return throughput_estimate([one.sampled_rate / one.plain_rate for one in self.repetitions])

    @property
    def cost(self) -> Estimate:
        """The CPU time of a request with sampling over that without, in pairs."""
        ratios = [sum(one.sampled_cpu_ms.values()) / sum(one.cpu_ms.values()) for one in self.repetitions]
        return throughput_estimate(ratios)

    def dearest(self, component: str, count: int) -> list[tuple[str, float]]:
        """Return the *count* places of *component* that take most, with their microseconds per request."""
        seen = Counter(self.places.get(component, {}))
        spent = 1000 * fmean(one.cpu_ms.get(component, 0.0) for one in self.repetitions)
        return [(place, spent * number / seen.total()) for place, number in seen.most_common(count)]


def ordered(segments: Iterable[Segment]) -> list[Segment]:
    """Order segments as a request meets them: client, brokers and what else there is, nodes."""
    parts = list(PARTS)

    def place(segment: Segment) -> tuple[int, str, int]:
        component, part = segment
        return {GENERATOR: 0, NODE: 2}.get(component, 1), component, parts.index(part) if part else 0

    return sorted(segments, key=place)
