"""Who was promised what, and what became of it: every request is in exactly one place. Pure.

A request is known by its token, a word of its own in what it carries, so that its effect is recognised on
the other side even where its client never learned the id that it was given.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

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
