"""Clients that send by a plan while faults are injected, and the ledger of what became of each request.

The ledger is pure. It says who was promised what, and what became of it: every request is in exactly one
place. A request is known by its token, a word of its own in what it carries, so that its effect is recognised
on the other side even where its client never learned the id that it was given.
"""

import itertools
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TypeVar

from harness.load.generator import now, open_loop
from harness.load.workload import Workload
from harness.record.ledger import RawFile, Recorder
from harness.record.run import Timeline
from lab.contract import Application, InsultFilter, InsultService
from lab.errors import Code, LabError, Unavailable
from lab.load.plans import Plan
from lab.operations import FILTER_OPERATIONS, Operation
from lab.process.system import System


class Outcome(StrEnum):
    """What a client knows of its request."""

    ACKNOWLEDGED = "acknowledged"
    REJECTED = "rejected"
    """Refused: it must have had no effect."""
    INDETERMINATE = "indeterminate"
    """No answer, or one that leaves open whether it had its effect."""


INDETERMINATE_CODES = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL_ERROR})
EFFECTS = frozenset({Operation.ADD_INSULT, Operation.SUBMIT})
"""Operations that leave something to be found on the other side."""


def outcome_of(code: str) -> Outcome:
    """Return what a client knows that was answered with the error *code*."""
    return Outcome.INDETERMINATE if code in INDETERMINATE_CODES else Outcome.REJECTED


class Entry(NamedTuple):
    """A request as its client saw it; times are ``perf_counter_ns``."""

    token: str
    operation: Operation
    planned_ns: int
    sent_ns: int
    done_ns: int
    outcome: Outcome
    code: str = ""
    is_right: bool = True
    """The answer is what the reference says; for an insult never sent before: that it was new."""
    petition_id: str = ""
    client: int = 0


class Found(NamedTuple):
    """An effect that was found after the run."""

    token: str
    petition_id: str = ""
    is_right: bool = True
    finished_ns: int = 0
    """On the clients' clock; 0: not known."""


@dataclass(frozen=True, slots=True)
class Account:
    """The ledger, closed. Lists hold tokens."""

    attempted: int
    outcomes: Counter[Outcome]
    applied: int
    lost: list[str] = field(default_factory=list)
    """Acknowledged, and not applied: or not under the id that the client was given."""
    unexpected: list[str] = field(default_factory=list)
    """Applied, and never attempted, or rejected."""
    duplicated: list[str] = field(default_factory=list)
    """Applied more than once; or answered as if it had been before."""
    wrong: list[str] = field(default_factory=list)
    """Answered, or applied, with another content than the reference's."""
    repeated: int = 0
    """Executions beyond the first: they cost time, and must have no effect."""
    recovered: int = 0
    """Indeterminate, and applied."""

    def counts(self) -> dict[str, int]:
        """Return the ledger as numbers."""
        return {
            "attempted": self.attempted,
            **{str(outcome): self.outcomes[outcome] for outcome in Outcome},
            "applied": self.applied,
            "lost": len(self.lost),
            "unexpected": len(self.unexpected),
            "duplicated": len(self.duplicated),
            "wrong": len(self.wrong),
            "repeated": self.repeated,
            "recovered": self.recovered,
        }


def close(entries: Sequence[Entry], found: Sequence[Found], worked: Iterable[str] = ()) -> Account:
    """Compare what clients know (*entries*) with what was *found*; *worked* are tokens, one per execution."""
    with_effect = {entry.token: entry for entry in entries if entry.operation in EFFECTS}
    applied = Counter(one.token for one in found)
    ids = {(one.token, one.petition_id) for one in found}
    sent = {entry.token for entry in entries}
    executions = Counter(token for token in worked if token in sent)
    wrong = {entry.token for entry in entries if not entry.is_right and entry.operation is Operation.FILTER}
    wrong |= {one.token for one in found if not one.is_right}
    not_new = {t for t, entry in with_effect.items() if not entry.is_right}
    return Account(
        attempted=len(entries),
        outcomes=Counter(entry.outcome for entry in entries),
        applied=len(applied),
        lost=sorted(t for t, entry in with_effect.items() if _is_lost(entry, ids)),
        unexpected=sorted(t for t in applied if _is_unexpected(with_effect.get(t))),
        duplicated=sorted({t for t, times in applied.items() if times > 1} | not_new),
        wrong=sorted(wrong),
        repeated=sum(times - 1 for times in executions.values()),
        recovered=sum(
            entry.outcome is Outcome.INDETERMINATE and token in applied
            for token, entry in with_effect.items()
        ),
    )


def _is_lost(entry: Entry, ids: set[tuple[str, str]]) -> bool:
    return entry.outcome is Outcome.ACKNOWLEDGED and (entry.token, entry.petition_id) not in ids


def _is_unexpected(entry: Entry | None) -> bool:
    return entry is None or entry.outcome is Outcome.REJECTED


NANOSECONDS = 1e9
TOUCHED_SECONDS = 2.0


def timeline(entries: Sequence[Entry], start_ns: int, slice_seconds: float) -> Timeline:
    """Cut the time from *start_ns* to the last answer into slices."""
    if not entries:
        return Timeline(slice_seconds)
    last = max(entry.done_ns for entry in entries)
    slices = int((last - start_ns) / NANOSECONDS / slice_seconds) + 1
    times: list[list[float]] = [[] for _ in range(slices)]
    unanswered = [0] * slices
    for entry in entries:
        place = int((entry.done_ns - start_ns) / NANOSECONDS / slice_seconds)
        if entry.outcome is Outcome.ACKNOWLEDGED:
            times[place].append((entry.done_ns - entry.planned_ns) / 1e6)
        else:
            unanswered[place] += 1
    return Timeline(
        slice_seconds, [len(each) for each in times], unanswered, [percentile(each, 0.99) for each in times]
    )


def percentile(values: Iterable[float], share: float) -> float | None:
    """Return the smallest value that *share* of all do not exceed; the largest where they are few."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(round(share * len(ordered), 6)) - 1)] if ordered else None


def held_up(at_ns: int, entries: Iterable[Entry], found: Iterable[Found] = ()) -> list[float]:
    """Return how many seconds each request that the fault at *at_ns* could touch then waited for its end.

    That is what was planned before it, or within two seconds after it (a dead node is sent petitions until it
    is known to be dead), and not over; and texts submitted before it that had no result yet. The wait counts
    from the fault or, where that is later, from when the request was planned.
    """
    until_ns = at_ns + int(TOUCHED_SECONDS * NANOSECONDS)
    delays = [
        entry.done_ns - max(at_ns, entry.planned_ns)
        for entry in entries
        if entry.planned_ns < until_ns and entry.done_ns > at_ns
    ]
    waiting = {e.token for e in entries if e.outcome is Outcome.ACKNOWLEDGED and e.done_ns <= at_ns}
    delays += [one.finished_ns - at_ns for one in found if one.finished_ns > at_ns and one.token in waiting]
    return [delay / NANOSECONDS for delay in delays]


def resumed(at_ns: int, entries: Iterable[Entry]) -> float | None:
    """Return after how many seconds the last client had an answer again; None if one never had."""
    firsts: dict[int, int] = {}
    clients = set()
    for entry in entries:
        clients.add(entry.client)
        if entry.outcome is Outcome.ACKNOWLEDGED and entry.done_ns > at_ns:
            firsts[entry.client] = min(entry.done_ns, firsts.get(entry.client, entry.done_ns))
    if not clients or clients != set(firsts):
        return None
    return (max(firsts.values()) - at_ns) / NANOSECONDS


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
