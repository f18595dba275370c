"""What a store promises, whatever holds the state. Values are clean already (:mod:`lab.validation`).

Operation ids: where an operation takes one and it is not empty, the effect and the record of the id happen
in one atomic step; repeating the call with the same id within 15 minutes (``LAB_ID_TTL``) has no further
effect and returns the first answer. With another body it is refused: MALFORMED. As long as the text of an id
waits or is worked on, the id stays with it.

Costs: no operation reads a whole collection to do one thing. Add, remove and random cost O(log n) at worst.

Leases: a node that takes a text or the broadcast holds it for a while under an epoch, a number that only
grows. Once another node holds it, the old epoch is refused: a frozen node settles nothing late.

Clocks: a stored time is checked before it is believed. A lease ends at now + its length at the latest, and
nobody alive loses one because the clock was set forward.

A store that cannot be reached or serves nobody raises :class:`~lab.errors.Unavailable`, a full one
:class:`~lab.errors.Overloaded`.
"""

import zlib
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from lab.contract import Result, ResultPage
from lab.errors import Code, InvalidRequest
from lab.limits import MAX_REPLY_BYTES
from lab.settings import settings

FAILURES_AT_MOST = 5
"""A text whose lease ended so often becomes a dead letter: it may kill each node that works on it."""


class WaitingText(NamedTuple):
    """A submitted text that a node took to work on, and the epoch under which it may be completed."""

    petition_id: str
    text: str
    epoch: int = 0


class Finished(NamedTuple):
    """A text that was taken and worked on, and what came of it."""

    waiting: WaitingText
    filtered: str


class UnderWay(NamedTuple):
    """A submitted text on which another works for the same operation id."""

    petition_id: str


class DeadLetter(NamedTuple):
    """A dead letter: a text that was never finished, and why."""

    petition_id: str
    text: str
    reason: str


class Hold(NamedTuple):
    """The broadcast is the caller's, under *epoch*; the last tick was counted *ticked_ago* seconds ago."""

    epoch: int
    ticked_ago: float | None


class Changes(NamedTuple):
    """What happened to the insults after *since*: pairs of (True added, False removed) and the insult.

    *complete* is False when the store no longer knows everything since then: read all insults again.
    """

    version: str
    changes: list[tuple[bool, str]]
    complete: bool


def digest(text: str) -> str:
    """Return a short digest of *text*, to tell by chance equal ids of different texts."""
    return f"{zlib.crc32(text.encode()):x}"


class IdReused(InvalidRequest):
    """The id of a request is that of an earlier one with another body."""

    def __init__(self) -> None:
        told = (
            f"this id was used for another text, in the last {settings().id_ttl} s or for one that is not"
            " finished yet; give each request its own"
        )
        super().__init__(Code.MALFORMED, told)


def dead_letter(petition_id: str, text: str, failures: int) -> DeadLetter:
    """Return why a text is a dead letter."""
    reason = f"taken {failures} times and never finished: it may kill the node that works on it"
    return DeadLetter(petition_id, text, reason)


def result_page(results: Iterable[Result], limit: int) -> ResultPage:
    """Return the first *limit* results, fewer where they pass 512 KiB; ``more`` says that it was cut."""
    page, size = ResultPage(), 0
    for result in islice(results, limit + 1):
        size += len(result.text.encode()) + len(result.petition_id)
        if len(page) == limit or (page and size > MAX_REPLY_BYTES):
            page.more = True
            return page
        page.append(result)
    return page


class InsultStore(Protocol):
    """The insults."""

    def add_insult(self, insult: str, operation_id: str = "") -> bool:
        """Store *insult*; True if it was new."""

    def add_insults(self, insults: Iterable[str]) -> int:
        """Store many at once, without operation ids; return how many were new."""

    def remove_insult(self, insult: str, operation_id: str = "") -> bool:
        """Forget *insult*; True if it was there."""

    def get_insults(self, after: str, limit: int) -> list[str]:
        """Return up to *limit* insults behind *after*, sorted by code point."""

    def random_insult(self) -> str | None:
        """Return a random insult, or None if there is none."""

    def count_insults(self) -> int:
        """Return how many insults there are."""

    def version(self) -> str:
        """Return a token for now, to ask :meth:`changes` with later. Take it *before* reading all."""

    def changes(self, since: str) -> Changes:
        """Return what was added and removed after the token *since*, in order, each at least once."""


class BroadcastStore(Protocol):
    """The subscribers and the state of the broadcast."""

    def add_subscriber(self, uri: str, lease_seconds: float) -> bool:
        """Add or renew *uri* for *lease_seconds*; True if it was not there."""

    def remove_subscriber(self, uri: str) -> bool:
        """Remove *uri*; True if it was there."""

    def subscribers(self) -> list[str]:
        """Return the subscribers whose lease holds, and drop the others."""

    def set_broadcast(self, on: bool, operation_id: str = "") -> bool:
        """Turn the broadcast on or off; True if that changed it."""

    def broadcast_on(self) -> bool:
        """Tell whether the broadcast is on."""

    def hold_broadcast(self, owner: str, lease_seconds: float) -> Hold | None:
        """Hold the broadcast, or go on holding it, for *lease_seconds*; None while another owner holds it."""

    def leave_broadcast(self, owner: str) -> None:
        """Let another hold the broadcast at once, if *owner* does now."""

    def next_tick(self, epoch: int = 0) -> int:
        """Count the next tick and return its number; the first is 1.

        With an *epoch* the caller must hold the broadcast under it. Else no tick is counted: 0.
        """


class ResultStore(Protocol):
    """The work list and the result list of the filter. An *owner* is a name without spaces; empty: none."""

    def submit(self, petition_id: str, text: str) -> None:
        """Put *text* on the work list; a second call with the same id within 15 minutes does nothing.

        Later it is a new petition: the result of the old one is forgotten.
        """

    def take(self, lease_seconds: float, owner: str = "") -> WaitingText | None:
        """Take the oldest waiting text for at most *lease_seconds*, or return None if none waits.

        A text that is not completed within its lease waits again, before the younger ones: its node has died.
        """

    def settle_and_take(
        self, finished: Sequence[Finished], most: int, lease_seconds: float, owner: str = ""
    ) -> tuple[list[bool], list[WaitingText]]:
        """Complete the *finished* texts, then take texts: one step where the store has batches.

        Return what :meth:`complete` says of each, False where it would raise; and up to *most* texts, the
        oldest. One whose lease ended before comes alone: it may kill its node.
        """
        kept = [self.complete(each.petition_id, filtered, epoch=each.epoch) for each, filtered in finished]
        taken = self.take(lease_seconds, owner) if most else None
        return kept, [taken] if taken else []

    def take_for(
        self, operation_id: str, lease_seconds: float, owner: str = ""
    ) -> WaitingText | Result | UnderWay | None:
        """Take a text for the ``resolve`` with this id, which is bound to the first text it took.

        A Result says what it gave already, None that it found nothing to give, then or before. A text whose
        node died is taken again by the same id; if another has finished it meanwhile, that is the Result.
        """

    def renew(self, petition_id: str, epoch: int, lease_seconds: float) -> bool:
        """Hold a taken text for *lease_seconds* from now; False if it waits again or is another's."""

    def release(self, owner: str) -> int:
        """Let the texts that *owner* took wait again at once: it died or goes. Return how many they were."""

    def complete(
        self, petition_id: str, text: str, operation_id: str = "", epoch: int = 0, body: str = ""
    ) -> bool:
        """Put the filtered *text* on the result list; False if one stands there since the last 15 minutes.

        What stands there is kept. If it is the result of another *body*, the text as it was sent,
        :class:`IdReused` is raised; without a body, if it is another result. *operation_id* is that of the
        ``resolve`` that asked for the work, for :meth:`resolved`. With the *epoch* under which it was taken,
        it is refused (False, and counted) once another has taken the text.
        """

    def fenced(self) -> int:
        """Return how many results were refused because another had taken their text."""

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return the newest dead letters: texts whose leases ended 5 times."""

    def result(self, petition_id: str) -> str | None:
        """Return the result of *petition_id*, or None if there is none (not yet, or not any more)."""

    def get_results(self, limit: int) -> ResultPage:
        """Return up to *limit* results, newest first, cut at 512 KiB."""

    def resolved(self, operation_id: str) -> Result | None:
        """Return what the ``resolve`` with this operation id gave, or None if it gave none."""

    def waiting(self) -> int:
        """Return how many texts wait."""


class Store(InsultStore, BroadcastStore, ResultStore, Protocol):
    """All of it."""

    def ping(self) -> None:
        """Return if the store answers; else raise Unavailable."""

    def close(self) -> None:
        """Free connections; the state stays."""
