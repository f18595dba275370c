"""What a policy remembers and what it answers: plain values, nothing that runs."""

from dataclasses import dataclass
from typing import NamedTuple

from dynamic.saturation import Evidence


class State(NamedTuple):
    """What a policy remembers from one decision to the next; each uses what it needs.

    A tuple: policies make several a reading, and of tuples that is four times as fast as of dataclasses.
    """

    wanted: int | None = None
    """The last answer; None before the first."""
    decided_at: float | None = None
    """When a policy with a period of its own (`hpa`) last decided."""
    smooth_rate: float | None = None
    """EWMA of the arrival rate, messages per second; None before the first message."""
    completions: float = 0.0
    """Messages finished, those of old readings counting less and less."""
    busy_seconds: float = 0.0
    """Worker-seconds in which they were, in the same way."""
    unfinished_seconds: float = 0.0
    """Worker-seconds since the last message was finished."""
    wishes: tuple[tuple[float, int], ...] = ()
    """Times and sizes of the wishes that still hold workers back from being retired."""
    begun_at: float | None = None
    """When the first reading with messages was: how long nobody has sent any says nothing of a load."""
    direction: int = 0
    """Of the last change of the load that was more than noise: 1 up, -1 down; 0: none yet."""
    is_mixed: bool = False
    """Whether the load changed in the last interval, so that its rate is one between the old and the new."""
    turns: tuple[float, ...] = ()
    """When the load turned from going up to going down or the other way round, lately."""
    peaks: tuple[tuple[float, int], ...] = ()
    """The same, with the workers that were wished for to work off a backlog."""
    evidence: Evidence = Evidence()
    """Whether more workers have helped."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How many workers there shall be, ready or starting, and why."""

    wanted: int
    state: State
    reason: str
    """A few words for the live view and the log."""
