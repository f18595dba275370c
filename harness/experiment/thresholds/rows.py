"""The rows of the table of bars: what each needs, and how it is measured without ever failing as a whole."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.experiment.bench import Bench
from harness.experiment.session import Step
from harness.experiment.thresholds.alone import censoring, insults, memory, speedups, starting, worker_start
from harness.experiment.thresholds.contestants import ContestantFailed, Terms
from harness.experiment.thresholds.wires import insult_me, rabbitmq_filter, redis_filter
from harness.record.findings import Finding, Judgement
from harness.record.run import Run
from harness.report.formatting import not_here
from lab.errors import LabError


@dataclass(frozen=True, slots=True)
class Row:
    """*windows* of each round, and *start_seconds* around them, tell how long it should take."""

    what: str
    measure: Callable[[Terms], Iterator[Finding]]
    windows: int
    start_seconds: float
    needs: frozenset[str] = frozenset()

    def seconds(self, pairs: int, window: float) -> float:
        """Return about how long it takes."""
        return self.start_seconds + self.windows * pairs * window


ROWS = {
    "xmlrpc": Row("XML-RPC insult_me", partial(insult_me, "xmlrpc"), 6, 6),
    "pyro4": Row("Pyro4 insult_me", partial(insult_me, "pyro4"), 6, 6),
    "redis": Row("Redis filter", redis_filter, 6, 7, frozenset({"redis"})),
    "rabbitmq": Row("RabbitMQ filter", rabbitmq_filter, 4, 6, frozenset({"rabbitmq"})),
    "speedup": Row("speedup at 3 and 8 nodes", speedups, 12, 20),
    "insults": Row("1,000,000 insults against 10", insults, 8, 60),
    "censor": Row("censoring", censoring, 2, 3),
    "memory": Row("memory of the harness", memory, 0, 30),
    "worker": Row("start of a worker", worker_start, 0, 10, frozenset({"redis", "rabbitmq"})),
    "start": Row("start of nodes and systems", starting, 0, 25),
}


def measured(name: str, row: Row, terms: Terms) -> Iterator[Finding]:
    """Yield what *row* finds; a side that fails makes a finding that says so, and is no pass."""
    missing = row.needs - terms.brokers.kinds
    if missing:
        yield Finding(name, row.what, missing=not_here(missing))
        return
    try:
        yield from row.measure(terms)
    except (LabError, ContestantFailed, OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "message", "") or str(error)
        yield Finding(name, row.what, objections=[f"{type(error).__name__}: {said}"])


def row_step(
    name: str, seconds: float, pairs: int, is_full: bool, yardstick: Path | None, corpus: Path | None
) -> Step:
    """Return the step that measures the row *name* in *pairs* of windows of *seconds*."""
    row = ROWS[name]

    def measure(bench: Bench) -> Iterator[Finding]:
        yield from measured(name, row, Terms(bench.brokers, seconds, pairs, is_full, yardstick, corpus))

    return Step(row.what, row.seconds(pairs, seconds), frozenset(), measure)


def reached(run: Run) -> bool:
    """Tell whether no threshold is missed, and nothing is invalid."""
    return all(one.verdict not in (Judgement.MISSED, Judgement.INVALID) for one in run.findings)
