"""What experiments find: a figure and its threshold, how two sides compare, parts of a request."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from statistics import fmean, median

from harness.statistics import (
    FEWEST_TRIALS,
    Comparison,
    Estimate,
    Verdict,
    compare,
    holm,
    mean_estimate,
    paired,
    throughput_estimate,
)
from lab.topology import NODE


class Judgement(StrEnum):
    """The verdict on a figure that has a threshold. What is invalid never counts as reached."""

    REACHED = "reached"
    MISSED = "missed"
    UNDECIDED = "undecided"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Change:
    """One value of a setting against its default, and what else it changes."""

    middleware: str
    setting: str
    value: str
    default: str
    promise: str = ""
    """What else the value changes: "weaker guarantee: ..."; empty: nothing."""

    @property
    def what(self) -> str:
        """What was changed to what."""
        return f"{self.middleware}: {self.setting} {self.value} against {self.default}"

    @property
    def names(self) -> tuple[str, str, str]:
        """What chooses it: its middleware, setting and value."""
        setting = f"{self.middleware}:{self.setting}"
        return self.middleware, setting, f"{setting}={self.value}"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was measured, and its threshold: a ratio by pair of windows, or a value by repetition.

    *rates* are what the sides did per second, window by window.
    """

    row: str
    what: str
    values: Sequence[float] = ()
    bar: float | None = None
    unit: str = "x"
    at_least: bool = True
    """The threshold *bar* is to be reached; False: the value must stay below it."""
    rates: Mapping[str, Sequence[float]] = field(default_factory=dict)
    again: Sequence[float] = ()
    """Rates of the first side, measured again at the end of each block."""
    change: Change | None = None
    """What the second side changed of the first, where that is one setting."""
    chance: float | None = None
    """Of such a ratio if the change had no effect, as all changes that were tested at once allow it (Holm's
    correction); None: not corrected."""
    notes: Sequence[str] = ()

    @property
    def median(self) -> float | None:
        """The value that is judged."""
        return median(self.values) if self.values else None

    @property
    def estimate(self) -> Estimate | None:
        """The geometric mean with its 95 % interval (Student's t on logarithms)."""
        return throughput_estimate(self.values) if self.values and min(self.values) > 0 else None

    @property
    def comparison(self) -> Comparison | None:
        """The second side against the first, where that was measured again; None with too few blocks."""
        if len(self.again) < FEWEST_TRIALS:
            return None
        a, b = self.rates.values()
        return compare(a, b, self.again)

    @property
    def verdict(self) -> Judgement | Verdict:
        """Say whether the whole interval is on the right side of the threshold, or on the wrong one.

        Without a threshold, say how the sides of a comparison differ.
        """
        if self.bar is None:
            return self._compared
        if self.rates and len(self.values) < FEWEST_TRIALS:
            return Judgement.UNDECIDED
        found = self.estimate
        if found is None or found.low is None or found.high is None:
            return Judgement.INVALID
        if (found.low >= self.bar) if self.at_least else (found.high < self.bar):
            return Judgement.REACHED
        if (found.high < self.bar) if self.at_least else (found.low >= self.bar):
            return Judgement.MISSED
        return Judgement.UNDECIDED

    @property
    def _compared(self) -> Verdict:
        found = self.comparison
        if not found:
            return Verdict.UNDECIDED
        is_chance = self.chance is not None and self.chance >= MOST_CHANCE
        return Verdict.UNDECIDED if is_chance and found.verdict is not Verdict.EQUIVALENT else found.verdict


MOST_CHANCE = 0.05
"""A change is called faster or slower below it."""


def corrected(findings: Sequence[Finding]) -> list[Finding]:
    """Return *findings*, the chance of those about a change as all of them allow it (Holm's correction)."""
    tested = [one for one in findings if one.change and one.comparison]
    chances = holm([paired(one.values, [1.0] * len(one.values)).p_value for one in tested])
    by_place = {id(one): chance for one, chance in zip(tested, chances, strict=True)}
    return [replace(one, chance=by_place.get(id(one), one.chance)) for one in findings]


def as_json(finding: Finding) -> dict[str, object]:
    """Return *finding* with what follows from it, as JSON has it."""
    estimate = finding.estimate
    return {
        **asdict(finding),
        "median": finding.median,
        "range": [min(finding.values), max(finding.values)] if finding.values else None,
        "interval": [estimate.low, estimate.high] if estimate else None,
        "verdict": finding.verdict,
    }


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


LIBRARY, CARRYING = "library", "carrying"
"""Whose code carries a request: the middleware's library, or the lab."""


@dataclass(frozen=True, slots=True)
class LibraryShare:
    """What a warm ``filter`` call runs, client and node together: Python functions, and samples of CPU time.

    By kind: "library", "carrying" (the lab carries the request), "application" and "rest" (of Python).
    """

    middleware: str
    calls: dict[str, float]
    samples: dict[str, int]
    files: Sequence[str] = ()
    """The files of the lab, without its applications, that a call runs."""

    @property
    def of_calls(self) -> float:
        """The part of the calls that carry the request which lies in the library, 0 to 1."""
        return _in_library(self.calls)

    @property
    def of_cpu(self) -> float:
        """The same of the samples; 0 where this Python cannot be sampled."""
        return _in_library(self.samples)


def _in_library(kinds: Mapping[str, float]) -> float:
    carrying = kinds.get(LIBRARY, 0) + kinds.get(CARRYING, 0)
    return kinds.get(LIBRARY, 0) / carrying if carrying else 0.0
