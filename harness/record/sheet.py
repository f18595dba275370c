"""The record of an experiment that has a file of its own: ``results/<UTC time>-<experiment>/``."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import matplotlib as mpl
from matplotlib.figure import Figure
from pydantic import TypeAdapter, ValidationError

from harness.report.plots import DPI
from harness.report.plots.style import SETTINGS
from lab.errors import Code, InvalidRequest
from lab.process.cores import usable_cores

SCHEMA = 1


@dataclass(slots=True, kw_only=True)
class Sheet:
    """What all of them say; an experiment adds what it measured."""

    experiment: str
    configuration: dict[str, object]
    environment: dict[str, object]
    started: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    notes: list[str] = field(default_factory=list)
    schema: int = SCHEMA

    @property
    def busy(self) -> str:
        """A warning if others worked on the machine before; empty: nobody did."""
        load, cores = self.environment.get("load_before"), usable_cores()
        if not isinstance(load, float) or load <= cores / 2:
            return ""
        return f"CAUTION: the load was {load:.1f} on {cores} cores before: others work here, times vary more"


Written = TypeVar("Written", bound=Sheet)


def write_sheet(sheet: Sheet, folder: Path) -> Path:
    """Write *sheet* whole or not at all; return the file, named after its experiment."""
    path = folder / f"{sheet.experiment}.json"
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(asdict(sheet), indent=1), encoding="utf-8")
    scratch.replace(path)
    return path


def read_sheet(path: Path, kind: type[Written]) -> Written:
    """Read what :func:`write_sheet` wrote; one clear InvalidRequest if it is something else."""
    try:
        found = TypeAdapter(kind).validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidRequest(Code.MALFORMED, f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its beginning"
        message = f"{path}: is damaged: {error.error_count()} error(s), the first at {where}: {first['msg']}"
        raise InvalidRequest(Code.MALFORMED, message) from error
    if found.schema != SCHEMA:
        message = f"{path}: has schema {found.schema}, and this lab reads {SCHEMA}; measure again"
        raise InvalidRequest(Code.MALFORMED, message)
    return found


def save_figures(figures: Mapping[str, Callable[[], Figure | None]], folder: Path) -> list[Path]:
    """Draw each figure that has data, as PNG and SVG, into *folder*; return the PNG files."""
    folder.mkdir(exist_ok=True)
    drawn = []
    with mpl.rc_context(SETTINGS):
        for name, make in figures.items():
            figure = make()
            if figure:
                for ending in ("svg", "png"):
                    figure.savefig(folder / f"{name}.{ending}", dpi=DPI)
                drawn.append(folder / f"{name}.png")
    return drawn
