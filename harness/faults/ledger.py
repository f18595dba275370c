"""Who was promised what, and what became of it: every request is in exactly one place. Pure.

A request is known by its token, a word of its own in what it carries, so that its effect is recognised on
the other side even where its client never learned the id that it was given."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from harness.record.run import Timeline
from lab.errors import Code
from lab.operations import Operation


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
