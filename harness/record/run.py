"""A run as data: ``results/<UTC time>-<experiment>/run.json``. Experiments write it, plots read it.

docs/run.schema.json is the format; :data:`SCHEMA` grows with every change of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import TypeAdapter

from dynamic.simulator.benchmark import Scores
from harness.record.findings import Finding, LibraryShare, Profile
from harness.record.measurement import Measurement, Usage
from lab.middleware import MIDDLEWARES, Middleware, Promise


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


@dataclass(frozen=True, slots=True)
class Series:
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
    trial: int = 1
    """Those of one number had the same events."""
    decisions: list[Decided] = field(default_factory=list)
    offered: Series = field(default_factory=Series)
    """Planned events per second."""
    measured: Series = field(default_factory=Series)
    """Answered events per second."""
    p99: Series = field(default_factory=Series)
    """Response time from the planned start, seconds, by the time of the answer."""
    starting: Series = field(default_factory=Series)
    ready: Series = field(default_factory=Series)
    needed: Series = field(default_factory=Series)
    """The fewest workers that keep events in time."""
    objections: list[str] = field(default_factory=list)
    """Why it is invalid; empty: it is valid."""
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


SCHEMA = 11


class Guarantee(StrEnum):
    """What is promised of a request that was accepted."""

    NOTHING = "nothing kept"
    MEMORY = "in the broker's memory"
    DISK = "on disk"


def usual_guarantee(middleware: Middleware, brokers: Iterable[str], *, is_stored: bool) -> Guarantee:
    """Return what is promised of a request that *middleware* accepted, as it comes.

    *brokers* are those of the run, as they describe themselves. *is_stored*: a work list holds the request.
    """
    if middleware.is_direct and not is_stored:
        return Guarantee.NOTHING
    broker = middleware.broker or "redis"
    is_weak = any(one.startswith(broker) and "WEAK" in one for one in brokers)
    return Guarantee.MEMORY if is_weak else Guarantee.DISK


@dataclass(frozen=True, slots=True)
class Point:
    """One window and the conditions under which it was measured."""

    experiment: str
    """The study: what its experiment's file says, or of `lab stress` "requests", "clients", "accepted" ..."""
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
    """Its turn in a comparison, and whose: "A: redis_impl", "B: rabbitmq, prefetch 1", "A again: ..."."""
    guarantee: str = ""
    """What is promised of an accepted request: a :class:`Guarantee`."""
    batch: int = 0
    """Texts in one request; 0: no batches."""
    is_trial: bool = False
    """Fresh processes were started for it; False: it repeats what the same processes did before."""
    factors: dict[str, str] = field(default_factory=dict)
    """What its experiment varied, by name, such as {"prefetch": "1"}."""
    usage: Usage = field(default_factory=Usage)
    objections: list[str] = field(default_factory=list)
    """Why it is invalid; empty: it is valid."""
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


Result = Point | Capacity | FaultTrial | ScalingTrial | Profile | Finding | LibraryShare
"""What a step of an experiment yields."""
_LISTS: dict[type[object], str] = {
    Point: "points",
    Capacity: "capacities",
    FaultTrial: "faults",
    ScalingTrial: "scalings",
    Profile: "profiles",
    Finding: "findings",
    LibraryShare: "libraries",
}


@dataclass(slots=True)
class Run:
    """What was measured, where, and what was left out. *notes* are sentences for its readers."""

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
    libraries: list[LibraryShare] = field(default_factory=list)
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


MOST_CLIENTS = 40
"""That Pyro4 serves at once as it comes; what :data:`Promise.MANY_CLIENTS` goes beyond."""


def list_of(result: Result) -> str:
    """Return the name of the list of a :class:`Run` that holds results like *result*."""
    return _LISTS[type(result)]


FORMAT = TypeAdapter(Run)
"""The format of ``run.json``, as docs/run.schema.json has it."""


def is_refusal(point: Point) -> bool:
    """Tell whether a variant only refused requests, under more clients than it promises to serve at once."""
    measured, variant = point.measurement, MIDDLEWARES[point.middleware]
    if variant.promises(Promise.MANY_CLIENTS) or point.clients * point.in_flight <= MOST_CLIENTS:
        return False
    return bool(measured.failed) and not (measured.lost or measured.wrong or measured.duplicates)


def losses(run: Run) -> list[str]:
    """Return a sentence for each result in which a request was lost or answered wrongly; points: or twice."""
    found = [
        f"{point.middleware} {point.architecture}, {point.nodes} node(s), {point.clients} clients x "
        f"{point.in_flight}: {'; '.join(point.objections)}"
        for point in run.points
        if point.measurement.throughput is None and not is_refusal(point)
    ]
    return found + [
        f"{trial.policy} on {trial.profile}: {trial.lost} events lost, {trial.wrong} answered wrongly"
        for trial in run.scalings
        if trial.lost or trial.wrong
    ]
