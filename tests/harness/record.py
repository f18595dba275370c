"""A run as data: ``results/<UTC time>-<experiment>/run.json``. Experiments write it, plots read it."""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.bootstrap import ROOT
from lab.errors import Code, InvalidRequest
from tests.harness.measure import Measurement

SCHEMA = 1
RESULTS = ROOT / "results"


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement and the conditions under which it was made."""

    experiment: str
    """"stress" or "speedup"."""
    middleware: str
    architecture: str
    nodes: int
    clients: int
    in_flight: int
    measurement: Measurement
    work: str = ""
    """The declared work per text, such as "5ms waiting"; empty: none."""

    @property
    def throughput(self) -> float:
        """Requests per second; 0 where a request was lost or wrong."""
        return self.measurement.throughput or 0.0


@dataclass(slots=True)
class Run:
    """What was measured, where, and what was left out. *notes* are sentences for who reads the result."""

    experiment: str
    configuration: dict[str, object]
    environment: dict[str, object]
    started: str = ""
    points: list[Point] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    schema: int = SCHEMA

    def of(self, experiment: str, **conditions: object) -> list[Point]:
        """Return the points of *experiment* that meet *conditions*, in the order of their measurement."""
        return [
            point
            for point in self.points
            if point.experiment == experiment
            and all(getattr(point, name) == value for name, value in conditions.items())
        ]


def new_folder(experiment: str, results: Path = RESULTS) -> Path:
    """Make the folder of a new run and let ``latest`` point to it."""
    results.mkdir(parents=True, exist_ok=True)
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
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRequest(Code.MALFORMED, f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidRequest(Code.MALFORMED, f"{path}: is not JSON: {error}") from error
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise InvalidRequest(Code.MALFORMED, f"{path}: is not a run of schema {SCHEMA}; measure again")
    try:
        values["points"] = [_point(point) for point in values["points"]]
        return Run(**values)
    except (TypeError, KeyError) as error:
        raise InvalidRequest(Code.MALFORMED, f"{path}: is damaged: {error}") from error


def _point(values: dict[str, Any]) -> Point:
    measurement = Measurement(**values.pop("measurement"))
    return Point(**values, measurement=measurement)


def losses(points: Sequence[Point]) -> list[str]:
    """Return a sentence for each point in which a request was lost or answered wrongly."""
    return [
        f"{point.middleware} {point.architecture}, {point.nodes} node(s), in flight {point.in_flight}: of "
        f"{point.measurement.made} requests {point.measurement.wrong} answered wrongly, "
        f"{sum(point.measurement.failed.values())} failed {point.measurement.failed or ''}"
        for point in points
        if point.measurement.throughput is None
    ]
