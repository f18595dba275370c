"""The pool: it forks workers of code that is imported already, and keeps as many as it was last told.

A worker is an InsultFilter node on Work_queue that writes shared statistics. The pool has one thread,
because it forks: a lock that another thread holds would stay locked in the child. It replaces workers
that end unasked. It does not know why it was told a number.
"""

import gc
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from dynamic.events import EventNames
from dynamic.policies.sample import KEPT_STARTS
from dynamic.pool.client import DEFAULT_PREFETCH
from dynamic.pool.status import (
    PULSE_SECONDS,
    Phase,
    PooledWorker,
    PoolStatus,
    SharedStatistics,
    Totals,
    WorkerReport,
    WorkerStatistics,
    reported,
)
from lab.applications.filter import Built
from lab.client.retry import Backoff
from lab.errors import LabError
from lab.limits import DRAIN_SECONDS
from lab.options import NodeOptions
from lab.process.launcher import usable_cores
from lab.process.node import die_with
from lab.process.supervisor import how_it_ended
from lab.work import Work
from rabbitmq.insult_filter import InsultFilterNode

log = logging.getLogger(__name__)

JOIN, LEAVE = signal.SIGUSR1, signal.SIGTERM
"""What the pool tells a worker: take events now; finish what was taken, and leave."""
ORDERS = (JOIN, LEAVE)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What all workers of a pool are told."""

    node: NodeOptions
    built: Built
    """Made once, before workers are forked."""
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
    watch = statistics.watch()
    return InsultFilterNode(node, options.prefetch, options.queue_type, names, watch, options.built)


LEAVING_WORKERS = 64
"""Beyond the most workers: for those that still drain while others have taken their place."""
BETWEEN_FORKS = Backoff(0.1, 5.0, least_share=1.0)
"""After a worker that ended young: the broker is away, or the code is broken."""
YOUNG_SECONDS = 1.0
"""A worker that lived longer did not end because of how it was started."""
FROZEN_SECONDS = 5.0
"""A worker that is silent for longer is killed and replaced."""
STARTING_AT_ONCE = 2 * usable_cores()
"""Starting takes processor time. If all start at once, all are late; in turn, the first ones work soon."""
WAVE_SECONDS = 0.01
"""When to see whether some have started and others may."""


class Pool:
    """Up to *most* workers and *spares* that wait, connected, for the next order."""

    def __init__(self, options: WorkerOptions, most: int, spares: int, in_child: Callable[[], None]) -> None:
        self._options = options
        self._most = most
        self._spares = spares
        self._in_child = in_child
        self._statistics = SharedStatistics(most + spares + LEAVING_WORKERS)
        self._workers: dict[int, PooledWorker] = {}
        self._totals = Totals()
        self._forked = 0
        self._wanted = 0
        self._failures = 0
        """Workers that ended young, one after the other; while there are any, one is tried at a time."""
        self._failed_at = self._not_before = 0.0
        self._lacking_since: float | None = None
        self._tended_at = self._judge_from = time.monotonic()
        self._start_seconds: deque[float] = deque(maxlen=KEPT_STARTS)
        gc.freeze()  # what is imported is shared with the workers; their collections need not touch it

    @property
    def is_empty(self) -> bool:
        """Whether no worker is left."""
        return not self._workers

    def scale(self, wanted: int) -> None:
        """Let *wanted* workers take events: at once by spares, then by new ones; the oldest leave first."""
        self._wanted = min(wanted, self._most)
        self.tend()

    def slow_down(self, factor: float) -> None:
        """Let work take *factor* times as long as declared."""
        self._statistics.slow_down(factor)

    def dismiss(self) -> None:
        """Let every worker leave, spares too."""
        self._wanted = self._spares = 0
        for worker in self._workers.values():
            self._let_leave(worker)

    def tend(self) -> float:
        """Reap, replace, keep spares, end what does not leave; return when to look again, in seconds."""
        self._reap()
        now = time.monotonic()
        self._look_at_workers(now)
        active = self._active()
        for worker in active[: max(0, len(active) - self._wanted)]:
            self._let_leave(worker)
        missing = max(0, self._wanted - len(active))
        since = now if self._failures else self._lacking_since or now  # a failed start is not a slow one
        self._lacking_since = since if missing else None
        for spare in self._waiting()[:missing]:
            self._let_join(spare, since)
            missing -= 1
        if now < self._not_before:
            return self._not_before - now
        starting = sum(worker.is_starting for worker in self._workers.values())
        at_once = 1 if self._failures else STARTING_AT_ONCE
        for _ in range(min(missing, at_once - starting)):
            self._fork(joins_since=since)
        if missing or starting:
            return WAVE_SECONDS
        if not self._has_leaving():  # spares come last: they must not delay workers that are needed
            lacking = self._spares - len(self._waiting())
            # After a failure one spare is tried, even if none is missing: only this shows that it is over.
            for _ in range(min(1, lacking) if self._failures else lacking):
                self._fork()
        if self.is_empty:  # no worker is wanted, so none fails
            self._failures = 0
        return 1.0

    def status(self) -> PoolStatus:
        """Return what is known of the workers."""
        return PoolStatus(
            pid=os.getpid(),
            wanted=self._wanted,
            started=self._forked,
            failures=self._failures,
            start_seconds=median(self._start_seconds) if self._start_seconds else None,
            **reported(self._workers.values(), self._totals, max(0, self._wanted - len(self._active()))),
        )

    def _active(self) -> list[PooledWorker]:
        """Return the workers that take events, or will, the oldest first."""
        return [one for one in self._workers.values() if one.joined_at is not None and one.left_at is None]

    def _waiting(self) -> list[PooledWorker]:
        return [one for one in self._workers.values() if one.joined_at is None and one.left_at is None]

    def _has_leaving(self) -> bool:
        return any(worker.left_at is not None for worker in self._workers.values())

    def _fork(self, joins_since: float | None = None) -> None:
        """Fork a spare, or one that joins because it has been lacking *since* a time."""
        statistics = self._statistics.free()
        if statistics is None:  # all are draining; one that has left makes room
            return
        statistics.clear(Phase.STARTING)
        pool = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, ORDERS)  # until the child waits for them
        pid = os.fork()
        if not pid:
            self._become_worker(statistics, pool)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ORDERS)
        self._forked += 1
        worker = PooledWorker(pid, statistics, self._forked, time.monotonic())
        self._workers[pid] = worker
        if joins_since is not None:
            self._let_join(worker, joins_since)

    def _become_worker(self, statistics: WorkerStatistics, pool: int) -> None:
        code = 1
        try:
            self._in_child()
            code = serve(self._options, statistics, pool)
        except BaseException:
            log.exception("a worker failed")
        finally:
            os._exit(code)  # nothing of the pool's may run here

    def _let_join(self, worker: PooledWorker, since: float) -> None:
        worker.joined_at = since
        os.kill(worker.pid, JOIN)

    def _let_leave(self, worker: PooledWorker) -> None:
        if worker.left_at is None:
            worker.left_at = time.monotonic()
            os.kill(worker.pid, LEAVE)

    def _reap(self) -> None:
        """Take over what the workers leave that have ended."""
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            worker = self._workers.pop(pid)
            phase = worker.phase
            self._totals.add(worker.statistics)
            worker.statistics.clear()
            if worker.left_at is None:
                self._totals.crashed += 1
                self._ended_unasked(worker, phase, os.waitstatus_to_exitcode(status))

    def _look_at_workers(self, now: float) -> None:
        if now - self._tended_at > FROZEN_SECONDS / 2:  # we were frozen too, or the machine slept
            self._judge_from = now + FROZEN_SECONDS
        self._tended_at = now
        for worker in self._workers.values():
            report = worker.statistics.read()
            self._note_start(worker, report)
            silent = now - report.pulse_ns / 1e9 if report.pulse_ns and now > self._judge_from else 0.0
            if worker.left_at is not None:
                if now - worker.left_at > 2 * DRAIN_SECONDS:
                    os.kill(worker.pid, signal.SIGKILL)
            elif silent > FROZEN_SECONDS and not worker.is_killed:
                worker.is_killed = True
                log.warning("worker (process %d) is silent for %.0f s: killing it", worker.pid, silent)
                os.kill(worker.pid, signal.SIGKILL)
            elif report.phase > Phase.STARTING and self._failed_at < worker.forked_at < now - YOUNG_SECONDS:
                self._failures = 0

    def _note_start(self, worker: PooledWorker, report: WorkerReport) -> None:
        if worker.start_seconds is None and worker.joined_at is not None and report.ready_ns:
            worker.start_seconds = max(0.0, report.ready_ns / 1e9 - worker.joined_at)
            self._start_seconds.append(worker.start_seconds)

    def _ended_unasked(self, worker: PooledWorker, phase: Phase, code: int) -> None:
        now = time.monotonic()
        if phase is not Phase.STARTING and now - worker.forked_at > YOUNG_SECONDS:
            log.warning("worker (process %d) %s", worker.pid, how_it_ended(code))
            return
        if now < self._not_before:  # one of those that were forked with the last one
            return
        self._failures += 1
        pause = BETWEEN_FORKS.pause(self._failures)
        self._failed_at, self._not_before = now, now + pause
        log.warning(
            "worker (process %d) %s as soon as it began; the next one in %.1f s",
            worker.pid,
            how_it_ended(code),
            pause,
        )
