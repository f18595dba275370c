"""A run as data: ``results/<UTC time>-<experiment>/run.json``. Experiments write it, plots read it.

docs/run.schema.json is the format; :data:`SCHEMA` grows with every change of it.
"""

import itertools
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from harness.probes.anatomy.profile import Profile
from harness.probes.resources import Usage
from harness.record.fault_trial import FaultTrial
from harness.record.scaling_trial import ScalingTrial
from harness.record.summary import Measurement
from lab.bootstrap import ROOT
from lab.contract import Architecture
from lab.errors import Code, InvalidRequest
from lab.middlewares import MIDDLEWARES

SCHEMA = 4
RESULTS = ROOT / "results"


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


Result = Point | Capacity | ScalingTrial | Profile
"""What a step of an experiment yields."""


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
    notes: list[str] = field(default_factory=list)
    schema: int = SCHEMA

    def keep(self, result: Result) -> None:
        """Add *result* to what was measured."""
        match result:
            case Point():
                self.points.append(result)
            case Capacity():
                self.capacities.append(result)
            case ScalingTrial():
                self.scalings.append(result)
            case Profile():
                self.profiles.append(result)

    def of(self, experiment: str, **conditions: object) -> list[Point]:
        """Return the points of *experiment* that meet *conditions*, in the order of their measurement."""
        return [
            point
            for point in self.points
            if point.experiment == experiment
            and all(getattr(point, name) == value for name, value in conditions.items())
        ]


FORMAT = TypeAdapter(Run)
"""The format of ``run.json``, as docs/run.schema.json has it."""


def make_results(results: Path) -> None:
    """Make the folder of all runs, unless it is there; an InvalidRequest if nothing can be written there."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=results).close()
    except OSError as error:
        message = f"{results}: cannot hold results: {error.strerror}; name another folder by --results"
        raise InvalidRequest(Code.MALFORMED, message) from error


def new_folder(experiment: str, results: Path = RESULTS) -> Path:
    """Make the folder of a new run and let ``latest`` point to it."""
    make_results(results)
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{experiment}"
    folder = next(filter(_made, (results / f"{name}{suffix}" for suffix in _suffixes())))
    latest = results / "latest"
    scratch = results / f".latest-{folder.name}"
    scratch.symlink_to(folder.name)
    scratch.replace(latest)
    return folder


def _suffixes() -> Iterator[str]:
    """Two runs may begin in one second."""
    yield ""
    yield from (f"-{number}" for number in itertools.count(2))


def _made(folder: Path) -> bool:
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def write_run(run: Run, folder: Path) -> Path:
    """Write *run* whole or not at all; return the file."""
    path = folder / "run.json"
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(asdict(run), indent=1), encoding="utf-8")
    scratch.replace(path)
    return path


def read_run(path: Path) -> Run:
    """Read what :func:`write_run` wrote; one clear InvalidRequest if it is something else."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(Code.MALFORMED, f"{path}: cannot be read: {error.strerror}") from error
    try:
        schema = json.loads(content)["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(Code.MALFORMED, f"{path}: is not the record of a run: {error}") from error
    if schema != SCHEMA:
        message = f"{path}: has schema {schema!r}, and this lab reads {SCHEMA}; measure again"
        raise InvalidRequest(Code.MALFORMED, message)
    try:
        run = FORMAT.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = f"{path}: is damaged: {error.error_count()} error(s), the first at {where}: {first['msg']}"
        raise InvalidRequest(Code.MALFORMED, message) from error
    found: list[Result | FaultTrial] = [
        *run.points,
        *run.capacities,
        *run.faults,
        *run.scalings,
        *run.profiles,
    ]
    named = {one.middleware for one in found} | {one.architecture for one in found}
    unknown = sorted(named.difference(MIDDLEWARES, Architecture))
    if unknown:
        message = f"{path}: names what this lab does not have: {', '.join(unknown)}"
        raise InvalidRequest(Code.MALFORMED, message)
    return run


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
