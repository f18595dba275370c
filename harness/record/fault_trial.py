"""What came of a scenario of the fault lab, as data: part of the record of a run."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Check:
    """A bar: *value* must not be above *limit*, or not below it if *is_least*. None could not be measured."""

    what: str
    value: float | None
    limit: float
    unit: str = ""
    is_least: bool = False

    @property
    def holds(self) -> bool:
        """Tell whether the bar is kept; what could not be measured keeps none."""
        if self.value is None:
            return False
        return self.value >= self.limit if self.is_least else self.value <= self.limit


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that was injected. Seconds count from the start of the load."""

    kind: str
    target: str
    at_seconds: float
    until_seconds: float | None = None
    """When it was over: thawed, restarted and ready; None: it did not end by itself."""
    recovery_seconds: float | None = None
    """How long what was under way then waited for its answer, at most; None: nothing was."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Slices of *slice_seconds* from the start of the load: what was done in each, how long it took."""

    slice_seconds: float = 1.0
    done: list[int] = field(default_factory=list)
    """Answers per slice, whatever was asked."""
    unanswered: list[int] = field(default_factory=list)
    """Refused, or given up by their client, per slice."""
    p99_ms: list[float | None] = field(default_factory=list)
    """Response time from the planned start, by slice of the answer; of under 100, the slowest."""


@dataclass(frozen=True, slots=True)
class FaultTrial:
    """One scenario of the fault lab over one middleware."""

    scenario: str
    middleware: str
    architecture: str
    nodes: int
    seed: int
    seconds: float
    checks: list[Check]
    counts: dict[str, int] = field(default_factory=dict)
    """The ledger: attempted, acknowledged, rejected, indeterminate, applied, lost, unexpected, ..."""
    figures: dict[str, float] = field(default_factory=dict)
    """What else was measured, by name and unit; judged by no bar."""
    faults: list[Fault] = field(default_factory=list)
    timeline: Timeline = field(default_factory=Timeline)
    notes: list[str] = field(default_factory=list)
    """Sentences: why a bar was not kept, what was left out."""

    @property
    def holds(self) -> bool:
        """Tell whether every bar was kept."""
        return all(check.holds for check in self.checks)
