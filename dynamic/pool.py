"""The pool: forks workers of code that is imported already, and outlives the controller that it serves.

Single-threaded, because it forks: no lock of another thread can be copied in its locked state. It keeps the
number of workers that it was last told, replaces those that end unasked, and knows nothing of why.
"""

import gc
import logging
import os
import signal
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from dynamic.slots import BUCKETS, Phase, Report, Slot, Slots
from dynamic.worker import JOIN, LEAVE, ORDERS, WorkerOptions, serve
from lab.limits import DRAIN_SECONDS

log = logging.getLogger(__name__)

LEAVING_SLOTS = 64
"""Beyond the most workers: for those that still drain while others have taken their place."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0
"""After a worker that ended before it was ready: the broker is away, or the code is broken."""
KEPT_STARTS = 20


@dataclass(slots=True)
class _Worker:
    pid: int
    slot: Slot
    number: int
    """Counts all that were forked: the oldest has the lowest."""
    forked_at: float
    joined_at: float | None = None
    """When it was told to take events; None: a spare."""
    left_at: float | None = None
    """When it was told to leave."""
    start_seconds: float | None = None
    """From the order to take events until it did."""


@dataclass(slots=True)
class _Totals:
    """Of all workers that are gone."""

    finished: int = 0
    worked_ns: int = 0
    crashed: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * BUCKETS)


class Pool:
    """Up to *most* workers and *spares* that wait, connected, for the next order."""

    def __init__(self, options: WorkerOptions, most: int, spares: int, in_child: Callable[[], None]) -> None:
        self._options = options
        self._most = most
        self._spares = spares
        self._in_child = in_child
        self._slots = Slots(most + spares + LEAVING_SLOTS)
        self._workers: dict[int, _Worker] = {}
        self._totals = _Totals()
        self._forked = 0
        self._wanted = 0
        self._failures = 0
        self._not_before = 0.0
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
        self._slots.slow_down(factor)

    def dismiss(self) -> None:
        """Let every worker leave, spares too."""
        self._wanted = self._spares = 0
        for worker in self._workers.values():
            self._let_leave(worker)

    def tend(self) -> float:
        """Reap, replace, keep spares, end what does not leave; return when to look again, in seconds."""
        self._reap()
        now = time.monotonic()
        for worker in self._workers.values():
            self._note_start(worker)
            if worker.left_at is not None and now - worker.left_at > 2 * DRAIN_SECONDS:
                os.kill(worker.pid, signal.SIGKILL)
        if now < self._not_before:
            return self._not_before - now
        active = self._active()
        for worker in active[: max(0, len(active) - self._wanted)]:
            self._let_leave(worker)
        missing = self._wanted - len(active)
        for spare in self._waiting()[: max(0, missing)]:
            self._let_join(spare)
            missing -= 1
        for _ in range(missing):
            self._fork(joins=True)
        is_calm = all(worker.slot.read().phase is Phase.READY for worker in self._active())
        if is_calm and not self._has_leaving():  # spares last: they must not delay who is needed now
            for _ in range(self._spares - len(self._waiting())):
                self._fork(joins=False)
        return 0.05 if not is_calm else 1.0

    def status(self) -> dict[str, object]:
        """Return what workers report, as JSON has it; times are seconds."""
        now_ns, totals, buckets = time.monotonic_ns(), self._totals, list(self._totals.buckets)
        finished, worked_ns, busy_ns = totals.finished, totals.worked_ns, totals.worked_ns
        under_way, workers = 0, []
        for worker in self._workers.values():
            report = worker.slot.read()
            finished += report.finished
            worked_ns += report.worked_ns
            busy_ns += report.worked_ns
            if report.begun_ns and report.phase is Phase.READY:
                busy_ns += now_ns - report.begun_ns
            under_way += report.under_way
            buckets = [a + b for a, b in zip(buckets, worker.slot.buckets(), strict=True)]
            workers.append(_described(worker, report))
        states = [worker["state"] for worker in workers]
        return {
            "pid": os.getpid(),
            "wanted": self._wanted,
            "ready": states.count("ready"),
            "starting": states.count("starting"),
            "spare": states.count("spare"),
            "leaving": states.count("leaving"),
            "under_way": under_way,
            "finished": finished,
            "worked_seconds": worked_ns / 1e9,
            "busy_seconds": busy_ns / 1e9,
            "started": self._forked,
            "crashed": totals.crashed,
            "failures": self._failures,
            "start_seconds": statistics.median(self._start_seconds) if self._start_seconds else None,
            "buckets": buckets,
            "workers": workers,
        }

    def _active(self) -> list[_Worker]:
        """Return the workers that take events, or will, the oldest first."""
        return [one for one in self._workers.values() if one.joined_at is not None and one.left_at is None]

    def _waiting(self) -> list[_Worker]:
        return [one for one in self._workers.values() if one.joined_at is None and one.left_at is None]

    def _has_leaving(self) -> bool:
        return any(worker.left_at is not None for worker in self._workers.values())

    def _fork(self, *, joins: bool) -> None:
        slot = self._slots.free()
        if slot is None:  # all are draining; one that has left makes room
            return
        slot.clear(Phase.STARTING)
        pool = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, ORDERS)  # until the child waits for them
        pid = os.fork()
        if not pid:
            self._become_worker(slot, pool)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ORDERS)
        self._forked += 1
        worker = _Worker(pid, slot, self._forked, time.monotonic())
        self._workers[pid] = worker
        if joins:
            self._let_join(worker)

    def _become_worker(self, slot: Slot, pool: int) -> None:
        code = 1
        try:
            self._in_child()
            code = serve(self._options, slot, pool)
        except BaseException:
            log.exception("a worker failed")
        finally:
            os._exit(code)  # nothing of the pool's may run here

    def _let_join(self, worker: _Worker) -> None:
        worker.joined_at = time.monotonic()
        os.kill(worker.pid, JOIN)

    def _let_leave(self, worker: _Worker) -> None:
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
            report = worker.slot.read()
            self._totals.finished += report.finished
            self._totals.worked_ns += report.worked_ns
            buckets = zip(self._totals.buckets, worker.slot.buckets(), strict=True)
            self._totals.buckets = [a + b for a, b in buckets]
            worker.slot.clear()
            if worker.left_at is None:
                self._ended_unasked(worker, report.phase, os.waitstatus_to_exitcode(status))

    def _note_start(self, worker: _Worker) -> None:
        ready_ns = worker.slot.read().ready_ns
        if worker.start_seconds is None and worker.joined_at is not None and ready_ns:
            worker.start_seconds = max(0.0, ready_ns / 1e9 - worker.joined_at)
            self._start_seconds.append(worker.start_seconds)

    def _ended_unasked(self, worker: _Worker, phase: Phase, code: int) -> None:
        self._totals.crashed += 1
        log.warning("worker %d ended by itself, exit code %d", worker.pid, code)
        if phase is Phase.STARTING:
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**self._failures)
            self._failures += 1
            self._not_before = time.monotonic() + pause
        else:
            self._failures = 0


def _described(worker: _Worker, report: Report) -> dict[str, object]:
    first_seconds = None
    if worker.joined_at is not None and report.first_ns:
        first_seconds = report.first_ns / 1e9 - worker.joined_at
    return {
        "pid": worker.pid,
        "state": _state(worker),
        "finished": report.finished,
        "start_seconds": worker.start_seconds,
        "first_seconds": first_seconds,
    }


def _state(worker: _Worker) -> str:
    if worker.left_at is not None:
        return "leaving"
    phase = worker.slot.read().phase
    if worker.joined_at is None:
        return "spare"
    return "ready" if phase is Phase.READY else "starting"
