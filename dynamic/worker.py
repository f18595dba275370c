"""What a worker is: an InsultFilter node on Work_queue, forked by the pool, that reports to its slot."""

import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dynamic.events import EventNames
from dynamic.slots import PULSE_SECONDS, Phase, Slot
from lab.applications.work import Work
from lab.errors import LabError
from lab.limits import DRAIN_SECONDS
from lab.options import NodeOptions
from lab.process.lifeline import die_with
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

    slot: Slot | None = None

    def perform(self) -> None:
        if self.slot is not None and self.slot.is_ready:
            slowness = self.slot.slowness
            Work(self.wait_seconds * slowness, self.cpu_seconds * slowness).perform()


def serve(options: WorkerOptions, slot: Slot, pool: int) -> int:
    """Work until told to leave; return the exit code. ORDERS are blocked already: none can be missed."""
    try:
        die_with(pool)
        node = _node(options, slot)
        try:
            node.start()
            node.canary()
            slot.enter(Phase.SPARE)
            if _order(ORDERS, slot) == JOIN:
                slot.enter(Phase.READY)
                node.join()
                _order([LEAVE], slot)
        finally:
            node.drain(DRAIN_SECONDS)
    except LabError as error:
        log.error("a worker did not start: %s: %s", error.code, error)
        return 1
    return 0


def _order(orders: Sequence[signal.Signals], slot: Slot) -> int:
    """Return the next of *orders*, and say meanwhile that we live."""
    if sys.platform == "darwin":  # it has no sigtimedwait
        return signal.sigwait(orders)
    while True:
        slot.pulse()
        received = signal.sigtimedwait(orders, PULSE_SECONDS)
        if received:
            return received.si_signo


def _node(options: WorkerOptions, slot: Slot) -> InsultFilterNode:
    work = options.node.work
    node = replace(options.node, work=PooledWork(work.wait_seconds, work.cpu_seconds, slot))
    names = EventNames(node.namespace)
    return InsultFilterNode(node, options.prefetch, options.queue_type, names, slot.watch())
