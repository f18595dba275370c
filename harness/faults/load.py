"""Clients that send by a plan while faults are injected, and note what becomes of each request."""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from harness.faults.ledger import Entry, Outcome, outcome_of
from harness.load.generator import now, open_loop
from harness.load.workload import Workload
from harness.record.measurement import RawFile, Recorder
from lab.contract import Application, InsultFilter, InsultService
from lab.errors import LabError, Unavailable
from lab.load.plans import Plan
from lab.operations import FILTER_OPERATIONS, Operation
from lab.process.system import System

T = TypeVar("T")
DEADLINE_SECONDS = 5.0
"""The contract's default: what a client waits for one answer."""
HANG_SECONDS = 1.0
"""By which a call may pass its deadline before it counts as hanging: threads share two cores."""
START_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask, and the right answer."""

    token: str
    operation: Operation
    text: str
    expected: str


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests by number, the same for all four; *mix* says how often each operation comes in turn."""

    seed: int
    mix: tuple[Operation, ...]
    suffixes: Mapping[int, str] = field(default_factory=dict)
    """By number: a word to put behind its text, such as a poison."""
    pool: list[tuple[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pool", Workload(seed=self.seed).pool())  # slow, so not when it is needed

    def __getitem__(self, number: int) -> Request:
        text, expected = self.pool[number % len(self.pool)]
        operation = self.mix[number % len(self.mix)]
        token = f"q{number}x"
        if operation is Operation.ADD_INSULT:
            return Request(token, operation, token, token)
        suffix = self.suffixes.get(number, "")
        return Request(token, operation, f"{token} {text}{suffix}", f"{token} {expected}{suffix}")


class Load:
    """*clients* threads that send *stream* by *plan*; a context manager, at whose end all have ended."""

    def __init__(
        self,
        systems: Mapping[Application, System],
        stream: Stream,
        plan: Plan,
        clients: int,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self.stream = stream
        self.plan = plan
        self.deadline_seconds = deadline_seconds
        self._due_ns: list[int] = plan.due_ns.tolist()
        self._numbers = itertools.count()
        self._clients = [_Client(self, systems, number) for number in range(clients)]
        self._threads = [
            threading.Thread(target=self._send, args=(client,), daemon=True) for client in self._clients
        ]
        self.start_ns = 0

    def __enter__(self) -> "Load":
        self.start_ns = now() + int(START_SECONDS * 1e9)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None:
            self.stop()
        for thread in self._threads:
            thread.join(4 * self.deadline_seconds)
        with ThreadPoolExecutor(len(self._clients)) as pool:  # one that is cut off takes seconds
            for closing_client in [pool.submit(client.close) for client in self._clients]:
                closing_client.result()

    @property
    def running(self) -> bool:
        """Tell whether some client still sends or waits."""
        return any(thread.is_alive() for thread in self._threads)

    @property
    def entries(self) -> list[Entry]:
        """What became of the requests that are over."""
        return [entry for client in self._clients for entry in list(client.entries)]

    @property
    def slowest_seconds(self) -> float:
        """The longest that a client waited for one answer."""
        return max(((e.done_ns - e.sent_ns) / 1e9 for e in self.entries), default=0.0)

    @property
    def lasted_seconds(self) -> float:
        """From the start of the plan to the last answer."""
        return (max((entry.done_ns for entry in self.entries), default=self.start_ns) - self.start_ns) / 1e9

    def seconds(self) -> float:
        """Return the time since the plan began."""
        return (now() - self.start_ns) / 1e9

    def stop(self) -> None:
        """Let the clients send nothing more."""
        self._numbers = itertools.count(len(self._due_ns))

    def due_ns(self, number: int) -> int:
        """Return when request *number* is planned."""
        return self.start_ns + self._due_ns[number]

    def _send(self, client: "_Client") -> None:
        with closing(RawFile(Path(os.devnull))) as raw:
            open_loop(client, lambda: next(self._numbers), self._due_ns, self.start_ns, Recorder(raw))


class _Client:
    """One client of both applications; the :class:`~harness.load.workload.Driver` of a thread."""

    def __init__(self, load: Load, systems: Mapping[Application, System], number: int) -> None:
        self._load = load
        self._number = number
        self.entries: list[Entry] = []
        self._service: InsultService | None = None
        self._filter: InsultFilter | None = None
        if Application.SERVICE in systems:
            self._service = systems[Application.SERVICE].service(load.deadline_seconds)
        if Application.FILTER in systems:
            self._filter = systems[Application.FILTER].filter(load.deadline_seconds)

    def request(self, number: int) -> bool:
        request = self._load.stream[number]
        sent_ns = now()
        outcome, code, is_right, petition_id = Outcome.ACKNOWLEDGED, "", True, ""
        try:
            is_right, petition_id = self._perform(request)
        except LabError as error:
            outcome, code = outcome_of(error.code), str(error.code)
        except Exception as error:  # noqa: BLE001 (an error that no client may raise: counted, and judged)
            outcome, code = Outcome.INDETERMINATE, f"{BUG}{error!r}"
        times = (self._load.due_ns(number), sent_ns, now())
        asked = (request.token, request.operation, *times)
        self.entries.append(Entry(*asked, outcome, code, is_right, petition_id, self._number))
        return is_right

    def close(self) -> None:
        for client in (self._service, self._filter):
            if client:
                with suppress(LabError):  # its broker may be away
                    client.close()

    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        """Send one after the other: a plan never asks for more."""
        for number in numbers:
            yield number, self.request(number)

    def _perform(self, request: Request) -> tuple[bool, str]:
        """Return whether the answer is right, and the id of a submitted text."""
        if self._filter and request.operation in FILTER_OPERATIONS:
            if request.operation is Operation.SUBMIT:
                return True, self._filter.submit(request.text)
            return self._filter.filter(request.text) == request.expected, ""
        if self._service is None:
            raise ValueError(f"this load has no service to ask for {request.operation}")
        if request.operation is Operation.ADD_INSULT:
            return self._service.add_insult(request.text), ""
        return bool(self._service.insult_me()), ""


BUG = "not a LabError: "
"""Begins the code of an error that the contract does not know."""


def bugs(entries: Sequence[Entry]) -> list[str]:
    """Return the errors that no client may raise, each once."""
    return sorted({entry.code.removeprefix(BUG)[:200] for entry in entries if entry.code.startswith(BUG)})


def wait(load: Load, seconds: float) -> None:
    """Wait until *seconds* after the start of the plan, or its end."""
    while load.running and load.seconds() < seconds:
        time.sleep(0.01)


def until(check: Callable[[], T], seconds: float = 10.0) -> T:
    """Return the first true value of *check*; Unavailable if there is none within *seconds*."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        if time.monotonic() >= deadline:
            raise Unavailable(f"still {found!r} after {seconds:g} s")
        time.sleep(0.02)
    return found
