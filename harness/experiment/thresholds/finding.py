"""What a bar asks for, what was measured, and what may be said of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from statistics import median

from harness.analysis.statistics import FEWEST_TRIALS, Estimate, throughput_estimate


class Verdict(StrEnum):
    """What is said of a row. Nothing is said of one that has no bar, and nothing good of an invalid one."""

    REACHED = "reached"
    MISSED = "missed"
    INVALID = "invalid"
    NO_BAR = "no bar"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One bar and its measurement: a ratio by pair of windows, or a value by repetition.

    *rates* are what the sides did per second, window by window; *limit* names the one that the machine allows
    and *ours* the one that is compared with it.
    """

    row: str
    what: str
    values: Sequence[float] = ()
    bar: float | None = None
    unit: str = "x"
    at_least: bool = True
    """The bar is to be reached from below; False: to be kept below."""
    rates: Mapping[str, Sequence[float]] = field(default_factory=dict)
    ours: str = ""
    limit: str = ""
    notes: Sequence[str] = ()
    objections: Sequence[str] = ()
    """Why nothing may be concluded; empty: it is valid."""
    missing: str = ""
    """Why it was not measured at all."""

    @property
    def median(self) -> float | None:
        """The value that is judged."""
        return median(self.values) if self.values else None

    @property
    def estimate(self) -> Estimate | None:
        """The geometric mean with its 95 % interval (Student's t on logarithms)."""
        return throughput_estimate(self.values) if self.values and min(self.values) > 0 else None

    @property
    def limit_share(self) -> float | None:
        """How much of what the machine allows is reached, median by median."""
        ours, limit = (self.rates.get(name) for name in (self.ours, self.limit))
        return median(ours) / median(limit) if ours and limit else None

    @property
    def verdict(self) -> Verdict:
        """Say whether the median reaches the bar, if it may be judged."""
        if self.missing:
            return Verdict.SKIPPED
        if self.objections or self.median is None:
            return Verdict.INVALID
        if self.bar is None:
            return Verdict.NO_BAR
        if len(self.values) < FEWEST_TRIALS:
            return Verdict.INVALID
        is_reached = self.median >= self.bar if self.at_least else self.median < self.bar
        return Verdict.REACHED if is_reached else Verdict.MISSED

    @property
    def is_close(self) -> bool:
        """Tell whether the interval holds the bar: another run may say otherwise."""
        found = self.estimate
        if found is None or found.low is None or found.high is None or self.bar is None:
            return False
        return found.low < self.bar < found.high


def as_json(finding: Finding) -> dict[str, object]:
    """Return *finding* with what follows from it, as JSON has it."""
    estimate = finding.estimate
    return {
        **asdict(finding),
        "median": finding.median,
        "range": [min(finding.values), max(finding.values)] if finding.values else None,
        "interval": [estimate.low, estimate.high] if estimate else None,
        "limit_share": finding.limit_share,
        "verdict": finding.verdict,
        "is_close": finding.is_close,
    }


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Return *over* divided by *under*, pair by pair."""
    return [a / b for a, b in zip(over, under, strict=True)]
