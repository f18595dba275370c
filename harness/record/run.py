"""A run as data: ``results/<UTC time>-<experiment>/run.json``. Experiments write it, plots read it.

docs/run.schema.json is the format; :data:`SCHEMA` grows with every change of it.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import TypeAdapter

from harness.record.findings import Cost, Curve, Finding
from harness.record.profile import Profile
from harness.record.summary import Measurement, Usage
from harness.record.trials import FaultTrial, ScalingTrial

SCHEMA = 6


@dataclass(frozen=True, slots=True)
class Point:
    """One window and the conditions under which it was measured."""

    experiment: str
    """"requests", "clients", "pipelined", "accepted", "sweep", "speedup", "compare" or "null"."""
    middleware: str
    architecture: str
    nodes: int
    clients: int
    in_flight: int
    measurement: Measurement
    application: str = "filter"
    work: str = ""
    """The declared work per text, such as "5ms waiting"; empty: none."""
    block: int = 0
    """Points of one block were measured close together, in random order: they are compared in pairs."""
    setting: str = ""
    """What "compare" set apart, such as "A rabbitmq:prefetch=1"."""
    usage: Usage = field(default_factory=Usage)
    objections: list[str] = field(default_factory=list)
    """Why nothing may be concluded from it; empty: it is valid."""
    generators: list[str] = field(default_factory=list)
    """The machines on which its load generators ran; empty: the one that the run was started on."""

    @property
    def throughput(self) -> float:
        """Requests per second; 0 where a request was lost or wrong."""
        return self.measurement.throughput or 0.0

    @property
    def is_valid(self) -> bool:
        """Tell whether conclusions may be drawn from it."""
        return not self.objections

    @property
    def cpu_ms(self) -> dict[str, float]:
        """CPU milliseconds per request by component, the load generator included."""
        done = max(1, self.measurement.done)
        spent = {**self.usage.cpu_seconds, "generator": self.measurement.generator_cpu_seconds}
        return {name: 1000 * seconds / done for name, seconds in spent.items()}


@dataclass(frozen=True, slots=True)
class Capacity:
    """The highest rate that was sustained, *low*, and the lowest that was not, *high*, per second."""

    middleware: str
    architecture: str
    nodes: int
    clients: int
    objective_ms: float
    """The 99th percentile of the response time must not be above it."""
    low: float
    high: float | None
    """None: no rate failed, up to the highest that was tried."""
    tried: list[list[object]] = field(default_factory=list)
    """Rate, whether it was sustained, and why not, in the order of the search."""
    objections: list[str] = field(default_factory=list)
    """Why nothing may be concluded from it, such as load generators that were the limit."""


Result = Point | Capacity | FaultTrial | ScalingTrial | Profile | Finding | Cost | Curve
"""What a step of an experiment yields."""
_LISTS: dict[type[object], str] = {
    Point: "points",
    Capacity: "capacities",
    FaultTrial: "faults",
    ScalingTrial: "scalings",
    Profile: "profiles",
    Finding: "findings",
    Cost: "costs",
    Curve: "curves",
}


@dataclass(slots=True)
class Run:
    """What was measured, where, and what was left out. *notes* are sentences for who reads the result."""

    experiment: str
    configuration: dict[str, object]
    environment: dict[str, object]
    started: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    points: list[Point] = field(default_factory=list)
    capacities: list[Capacity] = field(default_factory=list)
    faults: list[FaultTrial] = field(default_factory=list)
    scalings: list[ScalingTrial] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    schema: int = SCHEMA

    def keep(self, result: Result) -> None:
        """Add *result* to what was measured."""
        getattr(self, list_of(result)).append(result)

    def of(self, experiment: str, **conditions: object) -> list[Point]:
        """Return the points of *experiment* that meet *conditions*, in the order of their measurement."""
        return [
            point
            for point in self.points
            if point.experiment == experiment
            and all(getattr(point, name) == value for name, value in conditions.items())
        ]


def list_of(result: Result) -> str:
    """Return the name of the list of a :class:`Run` that holds results like *result*."""
    return _LISTS[type(result)]


FORMAT = TypeAdapter(Run)
"""The format of ``run.json``, as docs/run.schema.json has it."""


def losses(run: Run) -> list[str]:
    """Return a sentence for each result in which a request was lost or answered wrongly; points: or twice."""
    found = [
        f"{point.middleware} {point.architecture}, {point.nodes} node(s), {point.clients} clients x "
        f"{point.in_flight}: {'; '.join(point.objections)}"
        for point in run.points
        if point.measurement.throughput is None
    ]
    return found + [
        f"{trial.policy} on {trial.profile}: {trial.lost} events lost, {trial.wrong} answered wrongly"
        for trial in run.scalings
        if trial.lost or trial.wrong
    ]
