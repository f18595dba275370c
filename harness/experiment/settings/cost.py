"""What a change of a setting did, and what may be said of it."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from harness.analysis.statistics import FEWEST_TRIALS, Estimate, Verdict, throughput_estimate
from harness.experiment.thresholds.finding import ratios
from harness.record.sheet import Sheet

SAME = "the default again"


@dataclass(frozen=True, slots=True)
class Cost:
    """The requests per second of both sides, by pair of windows.

    *setting* is :data:`SAME` where the default was compared with itself.
    """

    middleware: str
    setting: str
    value: str = ""
    default: str = ""
    promise: str = ""
    """What else the value changes: "weaker guarantee: ..."; empty: nothing."""
    usual_rates: Sequence[float] = ()
    rates: Sequence[float] = ()
    noise: float | None = None
    """The farthest that the default came from itself in any pair, as a ratio above 1."""
    objections: Sequence[str] = ()
    """Why nothing may be concluded; empty: it is valid."""
    missing: str = ""
    """Why it was not measured at all."""

    @property
    def ratios(self) -> list[float]:
        """The rate with the change over the rate without it, pair by pair."""
        return ratios(self.rates, self.usual_rates)

    @property
    def estimate(self) -> Estimate | None:
        """The ratio with its 95 % interval (Student's t on logarithms)."""
        return throughput_estimate(self.ratios) if self.rates else None

    @property
    def doubts(self) -> list[str]:
        """Why nothing may be concluded, and what is wanting for a conclusion."""
        found = list(self.objections)
        if not self.missing and not found and len(self.rates) < FEWEST_TRIALS:
            found.append(f"fewer than {FEWEST_TRIALS} pairs: no interval")
        return found

    @property
    def is_valid(self) -> bool:
        """Tell whether conclusions may be drawn from it."""
        return not self.missing and not self.doubts

    @property
    def verdict(self) -> Verdict | None:
        """Say if it is faster or slower than the default; None: nothing may be said.

        It is only if the interval excludes 1, and the ratio is beyond what the default does against itself.
        """
        found = self.estimate
        if not self.is_valid or found is None or found.low is None or found.high is None:
            return None
        if found.low <= 1 <= found.high or abs(math.log(found.value)) <= math.log(self.noise or 1.0):
            return Verdict.NO_DETECTABLE_DIFFERENCE
        return Verdict.FASTER if found.value > 1 else Verdict.SLOWER


@dataclass(slots=True, kw_only=True)
class Costs(Sheet):
    """A run of ``lab settings``: ``settings.json``."""

    seconds: float
    pairs: int
    clients: int
    costs: list[Cost] = field(default_factory=list)


FILE = "settings.json"


def as_json(run: Costs) -> str:
    """Return *run*, with what follows from it, as JSON."""
    said = [{**asdict(cost), **_conclusion(cost)} for cost in run.costs]
    return json.dumps({**asdict(run), "costs": said}, indent=1)


def noise_of(cost: Cost) -> float | None:
    """Return how far the default came from itself; None if nothing may be said of that."""
    if cost.missing or cost.objections or not cost.rates:
        return None
    return max(max(ratio, 1 / ratio) for ratio in cost.ratios)


def _conclusion(cost: Cost) -> dict[str, object]:
    found = cost.estimate
    return {
        "ratios": cost.ratios,
        "ratio": found.value if found else None,
        "interval": [found.low, found.high] if found else None,
        "verdict": cost.verdict,
        "doubts": cost.doubts,
    }
