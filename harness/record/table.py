"""A run as a table, one row a window: what `lab export` writes, and what two runs are matched by."""

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness.record.ledger import keeping
from harness.record.measurement import PERCENTILES
from harness.record.run import Point, Run


def _percentile(name: str, point: Point) -> float | None:
    return point.measurement.response_ms.get(name)


CONDITIONS: dict[str, Callable[[Point], object]] = {
    "study": lambda point: point.experiment,
    "middleware": lambda point: point.middleware.partition(":")[0],
    "variant": lambda point: point.middleware.partition(":")[2] or "tuned",
    "architecture": lambda point: str(point.architecture),
    "application": lambda point: str(point.application),
    "nodes": lambda point: point.nodes,
    "clients": lambda point: point.clients,
    "in_flight": lambda point: point.in_flight,
    "batch": lambda point: point.batch,
    "work": lambda point: point.work,
    "guarantee": lambda point: point.guarantee,
    "setting": lambda point: point.setting,
    "factors": lambda point: "; ".join(f"{name}={value}" for name, value in point.factors.items()),
}
"""Under which a window was measured. docs/experiments.md tells what each column is."""
FIGURES: dict[str, Callable[[Point], object]] = {
    "block": lambda point: point.block,
    "seconds": lambda point: point.measurement.seconds,
    "made": lambda point: point.measurement.made,
    "done": lambda point: point.measurement.done,
    "lost": lambda point: point.measurement.lost,
    "wrong": lambda point: point.measurement.wrong,
    "failed": lambda point: sum(point.measurement.failed.values()),
    "duplicates": lambda point: point.measurement.duplicates,
    "offered": lambda point: point.measurement.offered,
    "throughput": lambda point: point.measurement.throughput,
    **{f"{name}_ms": partial(_percentile, name) for name in PERCENTILES},
    "busy_share": lambda point: point.usage.busy_share,
    "cpu_ms": lambda point: sum(point.cpu_ms.values()),
    "memory_mib": lambda point: sum(point.usage.rss_mib.values()),
    "valid": lambda point: point.is_valid,
    "why_not": lambda point: "; ".join(point.objections),
}
COLUMNS = {**CONDITIONS, **FIGURES}


def rows(run: Run) -> list[dict[str, object]]:
    """Return a row for each window, with all :data:`COLUMNS`; what was not measured is None."""
    return [{name: value(point) for name, value in COLUMNS.items()} for point in run.points]


def write_csv(run: Run, path: Path) -> int:
    """Write the rows of *run* to *path*; return how many. CannotKeep if it cannot be written."""
    found = rows(run)
    with keeping(path), path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(COLUMNS))
        writer.writeheader()
        writer.writerows(found)
    return len(found)
