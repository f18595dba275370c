"""What a store promises, whatever holds the state. Values are clean already (:mod:`lab.validation`).

Operation ids: where an operation takes one and it is not empty, the effect and the record of the id happen
in one atomic step; repeating the call with the same id within 15 minutes (``LAB_ID_TTL``) has no further
effect and returns the first answer. No operation reads a whole collection to do one thing: add, remove and
random cost O(log n) at worst.

A store that cannot be reached raises :class:`~lab.errors.Unavailable`.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from lab.contract import Result, ResultPage


class WaitingText(NamedTuple):
    """A submitted text that a node took to work on."""

    petition_id: str
    text: str


class Changes(NamedTuple):
    """What happened to the insults after *since*: pairs of (True added, False removed) and the insult.

    *complete* is False when the store no longer knows everything since then: read all insults again.
    """

    version: str
    changes: list[tuple[bool, str]]
    complete: bool


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

    def next_tick(self) -> int:
        """Count the next tick and return its number; the first is 1."""


class ResultStore(Protocol):
    """The work list and the result list of the filter."""

    def submit(self, petition_id: str, text: str) -> None:
        """Put *text* on the work list; a second call with the same id within 15 minutes does nothing."""

    def take(self, lease_seconds: float) -> WaitingText | None:
        """Take the oldest waiting text for at most *lease_seconds*, or return None if none waits.

        A text that is not completed within its lease waits again: its node has died.
        """

    def complete(self, petition_id: str, text: str, operation_id: str = "") -> bool:
        """Put the filtered *text* on the result list; False if this id has a result already.

        *operation_id* is that of the ``resolve`` that asked for the work, for :meth:`resolved`.
        """

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
        """Return if the store answers."""

    def close(self) -> None:
        """Free connections; the state stays."""
