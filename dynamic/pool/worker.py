"""A worker: an InsultFilter node on Work_queue that the pool forks; it writes shared statistics."""

import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dynamic.events import EventNames
from dynamic.pool.shared_statistics import PULSE_SECONDS, Phase, WorkerStatistics
from lab.errors import LabError
from lab.limits import DRAIN_SECONDS
from lab.options import NodeOptions
from lab.process.node import die_with
from lab.work import Work
from rabbitmq.insult_filter import InsultFilterNode

log = logging.getLogger(__name__)

JOIN, LEAVE = signal.SIGUSR1, signal.SIGTERM
"""What the pool tells a worker: take events now; finish what was taken, and leave."""
ORDERS = (JOIN, LEAVE)
DEFAULT_PREFETCH = 1
"""An event waits in the queue, where the next idle worker takes it, never behind a busy one."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What all workers of a pool are told."""

    node: NodeOptions
    prefetch: int = DEFAULT_PREFETCH
    queue_type: str = "classic"


@dataclass(frozen=True, slots=True)
class PooledWork(Work):
    """Work that an experiment can slow down while it runs, and that the canary does not wait for."""

    statistics: WorkerStatistics | None = None

    def perform(self) -> None:
        if self.statistics is not None and self.statistics.is_ready:
            slowness = self.statistics.slowness
            Work(self.wait_seconds * slowness, self.cpu_seconds * slowness).perform()


def serve(options: WorkerOptions, statistics: WorkerStatistics, pool: int) -> int:
    """Work until told to leave; return the exit code. ORDERS are blocked already: none can be missed."""
    try:
        die_with(pool)
        node = _node(options, statistics)
        try:
            node.start()
            node.canary()
            statistics.enter(Phase.SPARE)
            if _order(ORDERS, statistics) == JOIN:
                statistics.enter(Phase.READY)
                node.join()
                _order([LEAVE], statistics)
        finally:
            node.drain(DRAIN_SECONDS)
    except LabError as error:
        log.error("a worker did not start: %s: %s", error.code, error)
        return 1
    return 0


def _order(orders: Sequence[signal.Signals], statistics: WorkerStatistics) -> int:
    """Return the next of *orders*, and say meanwhile that we live."""
    if sys.platform == "darwin":  # it has no sigtimedwait
        return signal.sigwait(orders)
    while True:
        statistics.pulse()
        received = signal.sigtimedwait(orders, PULSE_SECONDS)
        if received:
            return received.si_signo


def _node(options: WorkerOptions, statistics: WorkerStatistics) -> InsultFilterNode:
    work = options.node.work
    node = replace(options.node, work=PooledWork(work.wait_seconds, work.cpu_seconds, statistics))
    names = EventNames(node.namespace)
    return InsultFilterNode(node, options.prefetch, options.queue_type, names, statistics.watch())
