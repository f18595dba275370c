"""Watch processes and start again those that end unasked: at once, then with growing pauses, then no more.

Everything is started by one thread of the supervisor's own. The kernel ends a process when the *thread* that
started it ends (``lab.process.node``), so that thread lives until all have ended:
:meth:`Supervisor.close` drains them
first. It is a daemon: when our process ends in any other way, the thread does, and with it they do.
"""

import heapq
import itertools
import logging
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from lab.client.retry import Backoff
from lab.errors import LabError
from lab.process.launcher import Handle, Launcher, ProcessSpec, last_words

log = logging.getLogger(__name__)

LAST_LINES = 5
"""How many lines of its log are shown when a process is given up."""


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How long to wait before a process is started again, and when to give up."""

    first_seconds: float = 0.1
    longest_seconds: float = 5.0
    stable_seconds: float = 5.0
    """After a process was ready for this time, the pauses begin again with the first."""
    attempts: int = 12
    """It is given up when it ended this often in a row, each time earlier than that. 1: at its first end."""

    def pause(self, failures: int) -> float:
        """Return the seconds to wait after *failures* ends in a row: none after the first."""
        if failures <= 1:
            return 0.0
        return Backoff(self.first_seconds, self.longest_seconds).pause(failures - 1)


@dataclass(slots=True)
class Restart:
    """A process that ended, and the one ready in its place. Times are of ``time.perf_counter_ns``."""

    name: str
    pid: int
    exit_code: int
    """Negative: the signal that killed it."""
    ended_ns: int
    new_pid: int = 0
    ready_ns: int = 0
    """When the new one was ready; 0: not yet, or never."""


@dataclass(slots=True)
class _Place:
    """Where one process at a time runs."""

    handle: Handle
    """The newest process."""
    known: Handle
    """The newest process that was ready."""
    spec: ProcessSpec
    """What to start as the next process."""
    moved: Callable[[Handle, Handle], None]
    ready_at: float
    failures: int = 0
    pending: list[Restart] = field(default_factory=list)
    """The ends since a process was ready: its own, and those of later ones that never were ready."""


class Supervisor:
    """Watches processes that *launcher* started, from the moment it is told to.

    An end is noticed when the kernel tells it, in a millisecond or so. *gone* is called with each process
    that ended, in a thread of its own, to tell others. *say* is called with a line for each event. A frozen
    process (SIGSTOP) has not ended, so nothing is done: when its lease ends, others take over its work, and
    it may come back.
    """

    def __init__(
        self,
        launcher: Launcher,
        *,
        gone: Callable[[Handle], None] = lambda handle: None,
        say: Callable[[str], None] = log.info,
        back_off: RestartPolicy | None = None,
    ) -> None:
        self.restarts: list[Restart] = []
        """What happened so far, in the order of the ends."""
        self._launcher = launcher
        self._gone = gone
        self._say = say
        self._back_off = back_off or RestartPolicy()
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._due: list[tuple[float, int, _Place]] = []
        self._turns = itertools.count()
        self._places = 0
        self._deserted = threading.Event()
        self._spawning = threading.Lock()
        self._stopping = False
        self._all_ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def watch(
        self,
        handle: Handle,
        spec: ProcessSpec | None = None,
        moved: Callable[[Handle, Handle], None] = lambda old, new: None,
    ) -> None:
        """Watch *handle*, which is ready, and whatever takes its place.

        *spec*: what to start in its place, none: the same. *moved* is told the old handle and the new one
        when that is ready. A process that is stopped by its launcher is not started again, not even one that
        had ended before; one that is killed by it is.
        """
        place = _Place(handle, handle, spec or handle.spec, moved, ready_at=time.monotonic())
        self._events.put(partial(self._count, 1))
        self._follow(place, is_ready=True)

    def wait(self) -> None:
        """Wait until all that is watched was stopped or given up; a signal interrupts it."""
        while not self._deserted.wait(1.0):  # a signal just before a wait is handled only after it
            pass

    def close(self) -> None:
        """Start nothing any more, let the launcher stop everything, then end. A second call does nothing."""
        with self._spawning:
            self._stopping = True
        self._events.put(lambda: None)
        self._launcher.close()
        self._all_ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._step()
            except Exception:
                log.exception("the supervisor goes on")  # with this thread, all that it started would end
        self._all_ended.wait()  # what this thread started must not end with it, but drain

    def _step(self) -> None:
        with suppress(queue.Empty):
            self._events.get(timeout=self._until_due())()
        while self._due and self._due[0][0] <= time.monotonic():
            self._start(heapq.heappop(self._due)[2])

    def _until_due(self) -> float | None:
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else None

    def _start(self, place: _Place) -> None:
        with self._spawning:
            if self._stopping:
                return
            if place.known.told_to_stop:  # since it ended
                self._count(-1)
                return
            try:
                place.handle = self._launcher.spawn(place.spec)
            except OSError as error:  # no memory, no process id: the machine's, and it may pass
                self._say(f"{place.spec.name} cannot be started: {error}")
                self._put_off(place, self._back_off.longest_seconds)
                return
        place.ready_at = float("inf")
        self._follow(place, is_ready=False)

    def _put_off(self, place: _Place, seconds: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._turns), place))

    def _follow(self, place: _Place, *, is_ready: bool) -> None:
        """Wait in a thread for what becomes of the newest of *place*."""
        name, arguments = f"watch {place.spec.name}", (place, place.handle, is_ready)
        threading.Thread(target=self._look, args=arguments, name=name, daemon=True).start()

    def _look(self, place: _Place, handle: Handle, is_ready: bool) -> None:
        if not is_ready:
            with suppress(LabError):  # it ends, or is ended, and its log says why
                self._launcher.wait_ready(handle)
                if place.known.told_to_stop:  # so its place is not wanted any more
                    self._launcher.stop(handle)
                else:
                    self._events.put(partial(self._ready, place))
        code = self._launcher.wait(handle)
        self._events.put(partial(self._ended, place, code, time.perf_counter_ns()))

    # In the supervisor's thread.

    def _ready(self, place: _Place) -> None:
        handle, old = place.handle, place.known
        place.known, place.ready_at = handle, time.monotonic()
        place.moved(old, handle)
        ready_ns = time.perf_counter_ns()
        took = (ready_ns - place.pending[0].ended_ns) / 1e9
        for restart in place.pending:
            restart.new_pid, restart.ready_ns = handle.pid, ready_ns
        place.pending = []
        self._say(f"{handle.spec.name} serves again after {took:.1f} s (process {handle.pid})")

    def _ended(self, place: _Place, code: int, ended_ns: int) -> None:
        handle = place.handle
        if self._stopping or place.known.told_to_stop:
            self._count(-1)
            return
        if handle is place.known:  # others know of it
            threading.Thread(target=self._gone, args=(handle,), name="gone", daemon=True).start()
        was_stable = time.monotonic() - place.ready_at >= self._back_off.stable_seconds
        place.failures = 1 if was_stable else place.failures + 1
        place.pending.append(Restart(handle.spec.name, handle.pid, code, ended_ns))
        self.restarts.append(place.pending[-1])
        if place.failures >= self._back_off.attempts:
            self._give_up(place, _what_happened(handle, code))
            return
        pause_seconds = self._back_off.pause(place.failures)
        said = f", saying: {last_words(self._launcher.logs(handle))}" if code > 0 else ""
        when = f"in {pause_seconds:.1f} s" if pause_seconds else "at once"
        self._say(f"{_what_happened(handle, code)}{said}; starting it again {when}")
        self._put_off(place, pause_seconds)

    def _give_up(self, place: _Place, what_happened: str) -> None:
        often = f", {place.failures} times in a row: given up" if place.failures > 1 else ""
        lines = self._launcher.logs(place.handle).strip().splitlines()[-LAST_LINES:]
        words = "".join(f"\n    {line}" for line in lines) or " none"
        self._say(f"{what_happened}{often}; its last words:{words}")
        self._launcher.stop(place.known)  # it has ended; now nobody expects another in its place
        self._count(-1)

    def _count(self, places: int) -> None:
        self._places += places
        if self._places:
            self._deserted.clear()
        else:
            self._deserted.set()


def _what_happened(handle: Handle, code: int) -> str:
    return f"{handle.spec.name} (process {handle.pid}) {how_it_ended(code)}"


def how_it_ended(code: int) -> str:
    """Say how a process ended, by its exit code: negative if a signal killed it."""
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"
