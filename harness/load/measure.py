"""Drive a subject with load generator processes and summarise what came of each window."""

import multiprocessing
import signal
import tempfile
import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple, Self

from harness.load.generator import START_SECONDS, Job, Window, run_generator
from harness.load.workload import Subject
from harness.record.ledger import Tally, keeping
from harness.record.measurement import Measurement, summarise
from lab.errors import InternalError, LabError
from lab.load.plans import Plan


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Let no process that is started meanwhile hear Ctrl-C: one that just begins would print a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Processes:
    """Processes that take orders and answer, over a pipe each. *what*: their name in errors.

    They end with :meth:`close`, or with the process that started them.
    """

    def __init__(self, what: str) -> None:
        self.context: SpawnContext = multiprocessing.get_context("spawn")
        self._what = what
        self._members: list[tuple[BaseProcess, Connection]] = []

    def __len__(self) -> int:
        return len(self._members)

    @property
    def pids(self) -> list[int]:
        """Their process ids."""
        return [process.pid for process, _ in self._members if process.pid]

    def start(self, target: Callable[..., None], *arguments: object) -> None:
        """Start one more; it runs *target* with *arguments* and its end of the pipe."""
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=target, args=(*arguments, theirs), daemon=True)
        with deaf_to_interrupts():
            process.start()
        theirs.close()
        self._members.append((process, ours))

    def tell(self, orders: Iterable[object]) -> None:
        """Give each its order; the first order is for the one that was started first."""
        for (_, pipe), order in zip(self._members, orders, strict=False):
            try:
                pipe.send(order)
            except OSError as error:
                raise InternalError(self._what, f"a {self._what} ended; its error stands above") from error

    def answers(self, timeout_seconds: float, count: int | None = None) -> list[Any]:
        """Return an answer of each, or of the first *count*, within *timeout_seconds* for all of them.

        InternalError if one ended or is silent. A LabError that one answers is raised.
        """
        deadline = time.monotonic() + timeout_seconds
        found = []
        for _, pipe in self._members[:count]:
            try:
                if not pipe.poll(max(0.0, deadline - time.monotonic())):
                    raise InternalError(self._what, f"a {self._what} is silent for {timeout_seconds:.0f} s")
                answer = pipe.recv()
            except (EOFError, OSError) as error:
                raise InternalError(self._what, f"a {self._what} ended; its error stands above") from error
            if isinstance(answer, LabError):
                raise answer
            found.append(answer)
        return found

    def close(self, grace_seconds: float = 2.0) -> None:
        """Let them end; kill those that still run after *grace_seconds* each. Twice is fine."""
        for _, pipe in self._members:
            with suppress(OSError):
                pipe.close()
        for process, _ in self._members:
            process.join(grace_seconds)
            if process.is_alive():
                process.kill()
                process.join()
        self._members.clear()


WARM_UP = Window(seconds=0.3)
"""Made by each client before its first window and discarded: the same for everything that is measured."""
ANSWER_SECONDS = 120.0
PROCESSES = 2


class Outcome(NamedTuple):
    """What came of a window that began at *start_ns*, on the clock of the raw times."""

    tally: Tally
    raws: list[Path]
    start_ns: int


class Generators(ABC):
    """Load generators, here or on other machines: *clients* in all, warmed up. A context manager."""

    def __init__(self, clients: int, in_flight: int, hosts: Sequence[str] = ()) -> None:
        self.clients = clients
        self.in_flight = in_flight
        self.hosts = hosts
        """The machines on which they run; none: this one."""

    def __enter__(self) -> Self:
        return self.wait_ready()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def requests(self, each: int) -> Measurement:
        """Let each client make *each* requests in a closed loop."""
        return self._run(Window(requests=each * self.clients))

    def closed(self, seconds: float) -> Measurement:
        """Let each client send in a closed loop for *seconds*."""
        return self._run(Window(seconds=seconds), seconds)

    def open(self, plan: Plan) -> Measurement:
        """Send as *plan* says, whichever client is free; the response time counts from the planned start."""
        window = Window(due_ns=array("q", plan.due_ns.tobytes()))
        with keeping(self._folder):
            plan.save(self._folder / f"{time.time_ns()}.plan.npz")
        return self._run(window, plan.duration_seconds, plan.rate)

    @property
    def pids(self) -> list[int]:
        """The process ids of the generators on this machine."""
        return []

    @property
    @abstractmethod
    def processes(self) -> int:
        """How many processes they are."""

    @abstractmethod
    def wait_ready(self) -> Self:
        """Wait until all clients are connected and warm."""

    @abstractmethod
    def close(self) -> None:
        """End the generators."""

    @property
    @abstractmethod
    def _folder(self) -> Path:
        """Where plans and raw times go."""

    @abstractmethod
    def _run(self, window: Window, seconds: float = 0.0, offered: float | None = None) -> Measurement:
        """Measure *window*, which takes about *seconds*; *offered* requests per second are planned."""


class LocalGenerators(Generators):
    """Load generators on this machine, each client with up to *in_flight* requests under way.

    *raw* is a folder for the raw times of its windows; without it they are not kept. *first* is the number of
    the first client, where others send elsewhere.
    """

    def __init__(
        self,
        subject: Subject,
        clients: int,
        *,
        processes: int = PROCESSES,
        in_flight: int = 1,
        raw: Path | None = None,
        warm_up: Window = WARM_UP,
        first: int = 0,
    ) -> None:
        super().__init__(clients, in_flight)
        with keeping(Path(tempfile.gettempdir())):
            self._scratch = tempfile.TemporaryDirectory(prefix="lab-raw-")
        self._raw = raw or Path(self._scratch.name)
        self._processes = Processes("load generator")
        self._next_planned = self._processes.context.Value("q", 0)
        self._windows = 0
        self._subject = subject  # what it shares with the processes must outlive their start
        try:
            for share in shares(clients, processes):
                job = Job(subject, first, share, in_flight, warm_up)
                self._processes.start(run_generator, job, self._next_planned)
                first += share
        except BaseException:  # those that just begin read what this process would free
            self.close()
            raise

    def wait_ready(self) -> Self:
        try:
            for answer in self._processes.answers(ANSWER_SECONDS):
                if answer != "ready":
                    raise InternalError("generator", f"a load generator said {answer!r}")
        except BaseException:
            self.close()
            raise
        return self

    @property
    def pids(self) -> list[int]:
        return self._processes.pids

    @property
    def processes(self) -> int:
        return len(self._processes)

    def run(self, window: Window, seconds: float = 0.0) -> Outcome:
        """Let all clients send *window*, which takes about *seconds*."""
        self._windows += 1
        self._next_planned.value = 0
        start_ns = time.perf_counter_ns() + (0 if window.due_ns is None else int(START_SECONDS * 1e9))
        label = f"{time.time_ns()}-{self._windows}"
        raws = [self._raw / f"{label}-{index}.i64" for index in range(self.processes)]
        self._processes.tell(replace(window, raw=raw, start_ns=start_ns) for raw in raws)
        total = Tally()
        for answer in self._processes.answers(ANSWER_SECONDS + seconds):
            if not isinstance(answer, Tally):
                raise InternalError("generator", f"a load generator said {answer!r}")
            total.add(answer)
        return Outcome(total, raws, start_ns)

    def close(self) -> None:
        self._processes.close()
        self._scratch.cleanup()

    @property
    def _folder(self) -> Path:
        return self._raw

    def _run(self, window: Window, seconds: float = 0.0, offered: float | None = None) -> Measurement:
        outcome = self.run(window, seconds)
        return summarise(outcome.tally, outcome.raws, offered)


def shares(clients: int, processes: int) -> Sequence[int]:
    """Divide *clients* among *processes* as evenly as can be."""
    processes = min(clients, processes)
    return [clients // processes + (index < clients % processes) for index in range(processes)]


@dataclass(frozen=True, slots=True)
class Start:
    """The first order: who sends what."""

    subject: Subject
    clients: int
    first: int
    in_flight: int
    warm_up: Window


Order = Start | Window


@dataclass(frozen=True, slots=True)
class Answer:
    """A window: its ledger, and planned, sent and done of each right answer, in ns from its start."""

    tally: Tally
    times: bytes = b""
