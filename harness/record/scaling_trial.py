"""What came of a policy on a load, as data: part of the record of a run."""

from dataclasses import dataclass, field

from dynamic.simulator.scores import Scores

LATE_POINTS = 1.0
"""By how many percentage points of late events simulator and system may differ."""
COST_PERCENT = 10.0
"""By how much of the worker-seconds they may."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Values at *times*, seconds from the start of the load; None where there is none."""

    times: list[float] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision of the policy, as the controller printed it."""

    time: float
    """Seconds from the start of the load."""
    backlog: int
    wanted: int
    starting: int
    ready: int
    reason: str


@dataclass(frozen=True, slots=True)
class ScalingTrial:
    """One policy under one load profile, on real RabbitMQ and in the simulator."""

    policy: str
    profile: str
    description: str
    seconds: float
    seed: int
    work: str
    """The declared work per event, such as "100ms waiting"."""
    rate_alone: float
    """Messages per second of one worker that is never idle, as calibrated: C is this times Tr."""
    start_seconds: float
    """Median from the wish for a worker until it takes events."""
    scores: Scores
    simulated: Scores
    """Of the same policy, events and bounds."""
    confirmed: int
    """Events that the broker confirmed."""
    done: int
    """Different events that were answered."""
    repeated: int
    """Answers beyond the first to an event: its work was done again."""
    wrong: int
    """Answers that differ from the reference filter's."""
    crashed: int
    """Workers that ended unasked."""
    decisions: list[Decided] = field(default_factory=list)
    offered: Curve = field(default_factory=Curve)
    """Planned events per second."""
    measured: Curve = field(default_factory=Curve)
    """Answered events per second."""
    p99: Curve = field(default_factory=Curve)
    """Response time from the planned start, seconds, by the time of the answer."""
    starting: Curve = field(default_factory=Curve)
    ready: Curve = field(default_factory=Curve)
    needed: Curve = field(default_factory=Curve)
    """The fewest workers that keep events in time."""
    objections: list[str] = field(default_factory=list)
    """Why nothing may be concluded from it; empty: it is valid."""
    middleware: str = "rabbitmq"
    architecture: str = "n-node"

    @property
    def lost(self) -> int:
        """Confirmed events that were never answered."""
        return max(0, self.confirmed - self.done)

    @property
    def late_difference(self) -> float:
        """Percentage points by which the simulator's share of late events differs."""
        return self.simulated.late_percent - self.scores.late_percent

    @property
    def cost_difference_percent(self) -> float:
        """By how much the simulator's worker-seconds differ from the system's."""
        return 100 * (self.simulated.worker_seconds / self.scores.worker_seconds - 1)

    @property
    def is_simulated_well(self) -> bool:
        """Tell whether the simulator says what the system does."""
        return abs(self.late_difference) <= LATE_POINTS and abs(self.cost_difference_percent) <= COST_PERCENT
