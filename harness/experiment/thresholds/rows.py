"""The rows of the table of bars: what each needs, and how it is measured without ever failing as a whole."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from harness.experiment.thresholds.alone import censoring, memory, starting
from harness.experiment.thresholds.direct import insult_me
from harness.experiment.thresholds.finding import Finding
from harness.experiment.thresholds.growth import insults, speedups
from harness.experiment.thresholds.load import SideFailed
from harness.experiment.thresholds.queues import rabbitmq_filter, redis_filter
from harness.experiment.thresholds.sides import Terms
from harness.experiment.thresholds.workers import worker_start
from harness.report.words import not_here
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
    except (LabError, SideFailed, OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "message", "") or str(error)
        yield Finding(name, row.what, objections=[f"{type(error).__name__}: {said}"])
