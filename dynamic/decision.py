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
    rates: tuple[float, ...] = ()
    """Arrivals per second of the last readings (`adaptive`)."""
    completions: float = 0.0
    """Messages finished, those of old readings counting less and less."""
    busy_seconds: float = 0.0
    """Worker-seconds in which they were, in the same way."""
    unfinished_seconds: float = 0.0
    """Worker-seconds since the last message was finished."""
    wishes: tuple[tuple[float, int], ...] = ()
    """Times and sizes of the wishes that still keep workers from being retired."""
    calm: tuple[tuple[float, int], ...] = ()
    """Times, and how many workers would have been enough then, since fewer than there are would be."""
    surplus: float = 0.0
    """What was too many in that time, as a share of the workers, added up over the readings."""
    evidence: Evidence = Evidence()
    """Whether more workers have helped."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How many workers there shall be, ready or starting, and why."""

    wanted: int
    state: State
    reason: str
    """A sentence for the live view and the log."""
