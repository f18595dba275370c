"""Keep a run on disk as it grows: ``results/<UTC time>-<experiment>/``, also when the disk is full.

Each result is one line of ``run.jsonl`` as soon as it is measured. At the end ``run.json`` holds the whole
run and the journal is removed. So a run that is killed can still be read."""

import importlib.metadata
import itertools
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydantic import ValidationError

from harness.record.findings import Profile
from harness.record.ledger import keeping
from harness.record.run import FORMAT, SCHEMA, Capacity, FaultTrial, Point, Result, Run, ScalingTrial, list_of
from lab import __version__
from lab.bootstrap import ROOT
from lab.contract import Architecture
from lab.errors import Code, InvalidRequest
from lab.middleware import MIDDLEWARES, VARIANTS
from lab.process.launcher import usable_cores
from machines.machine import commit, is_dirty

RESULTS = ROOT / "results"
RECORD, JOURNAL = "run.json", "run.jsonl"
SPACE_BYTES = 20_000_000
"""What record, plots and report of a run need at most."""
CUT_OFF = "Cut off: this run did not come to its end; what was measured until then is here."


class Journal:
    """The folder of a run; :meth:`keep` appends a result to it. What cannot be written raises CannotKeep."""

    def __init__(self, run: Run, results: Path, raw_bytes: int = 0) -> None:
        self.run = run
        self.folder = new_folder(run.experiment, results, SPACE_BYTES + raw_bytes)
        self.raw = self.folder / "raw"
        """Where load generators put the times of each request."""
        self._noted = len(run.notes)
        self._append({name: value for name, value in asdict(run).items() if value != []})

    def keep(self, result: Result) -> None:
        """Add *result* to the run and write it, with what was noted since the last one."""
        self.run.keep(result)
        self._append({list_of(result): [asdict(result)], "notes": self._new_notes()})

    def update(self) -> None:
        """Write what the run says by now of its environment, and what was noted since the last result."""
        self._append({"environment": self.run.environment, "notes": self._new_notes()})

    def _new_notes(self) -> list[str]:
        new, self._noted = self.run.notes[self._noted :], len(self.run.notes)
        return new

    def _append(self, part: dict[str, object]) -> None:
        """Write a line. The file is opened each time: a deleted folder is noticed at once."""
        with keeping(self.folder), (self.folder / JOURNAL).open("a", encoding="utf-8") as file:
            file.write(json.dumps(part) + "\n")


def make_results(results: Path, needed_bytes: int = 0) -> None:
    """Make the folder of all runs, unless it is there.

    InvalidRequest if nothing can be written there, or if less than *needed_bytes* are free there.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=results).close()
        free = shutil.disk_usage(results).free
    except OSError as error:
        message = f"{results}: cannot hold results: {error.strerror}; name another folder by --results"
        raise InvalidRequest(Code.MALFORMED, message) from error
    if free < needed_bytes:
        message = (
            f"{results}: cannot hold results: about {_size(needed_bytes)} are needed and {_size(free)} are "
            "free; make room there, or name another folder by --results"
        )
        raise InvalidRequest(Code.MALFORMED, message)


def check_results(results: Path, needed_bytes: int) -> None:
    """Raise what :func:`make_results` raises, and leave no folder behind."""
    missing = [folder for folder in (results, *results.parents) if not folder.exists()]
    try:
        make_results(results, needed_bytes)
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def new_folder(experiment: str, results: Path = RESULTS, needed_bytes: int = 0) -> Path:
    """Make the folder of a new run and let ``latest`` point to it."""
    make_results(results, needed_bytes)
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{experiment}"
    with keeping(results):
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


def _size(count: float) -> str:
    return f"{count / 1e6:,.0f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"


def write_run(run: Run, folder: Path) -> Path:
    """Write *run* whole or not at all, and remove its journal; return the file.

    CannotKeep if it cannot be written.
    """
    path = folder / RECORD
    scratch = path.with_suffix(".new")
    try:
        with keeping(folder):
            scratch.write_text(json.dumps(asdict(run), indent=1), encoding="utf-8")
            scratch.replace(path)
            (folder / JOURNAL).unlink(missing_ok=True)
    finally:
        if scratch.exists():
            scratch.unlink()
    return path


def read_run(path: Path) -> Run:
    """Read what :func:`write_run` wrote, or the journal beside it.

    InvalidRequest, in one line, if it is something else.
    """
    content = _content(path)
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
    placed: list[Point | Capacity | FaultTrial | ScalingTrial | Profile] = [
        *run.points,
        *run.capacities,
        *run.faults,
        *run.scalings,
        *run.profiles,
    ]
    named = {one.middleware for one in placed} | {one.architecture for one in placed}
    named |= {one.change.middleware for one in run.findings if one.change}
    named |= {one.middleware for one in run.libraries}
    unknown = sorted(named.difference(VARIANTS, MIDDLEWARES, Architecture))
    if unknown:
        message = f"{path}: names what this lab does not have: {', '.join(unknown)}"
        raise InvalidRequest(Code.MALFORMED, message)
    return run


def _content(path: Path) -> bytes:
    """Return the record at *path*; where there is none, the record that its journal makes."""
    journal = path.with_name(JOURNAL)
    try:
        if path.exists() or not journal.exists():
            return path.read_bytes()
        return json.dumps(_joined(journal.read_bytes().splitlines())).encode()
    except OSError as error:
        raise InvalidRequest(Code.MALFORMED, f"{path}: cannot be read: {error.strerror}") from error


def _joined(lines: list[bytes]) -> dict[str, object]:
    """Join the lines of a journal: lists are extended, what else a later line says replaces the earlier.

    The first line that is not whole is the last that was begun.
    """
    whole: dict[str, object] = {}
    for line in lines:
        try:
            part = json.loads(line)
        except ValueError:
            break
        for name, value in part.items():
            known = whole.get(name)
            whole[name] = known + value if isinstance(known, list) else value
    notes = whole.setdefault("notes", [])
    if isinstance(notes, list):
        notes.append(CUT_OFF)
    return whole


LIBRARIES = ("Pyro4", "redis", "hiredis", "pika", "httptools", "uvloop", "msgpack")


def environment() -> dict[str, object]:
    """Describe this machine now."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "cpu_quota": _quota(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "lab": __version__,
        "commit": commit(),
        "is_dirty": is_dirty(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def _quota() -> str:
    """Return the limit that a control group (a container) sets on CPU time: quota and period in us."""
    try:
        return Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").strip()
    except OSError:
        return "none"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
