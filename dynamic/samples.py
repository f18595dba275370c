"""What a policy is told, what it remembers and what it answers: plain values, nothing that runs."""

from dataclasses import dataclass
from typing import NamedTuple

from dynamic.saturation import Evidence


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of the system. Times are seconds, rates are messages per second."""

    time: float
    """Seconds, on any clock that only goes forward."""
    interval_seconds: float
    """Real time since the last reading that was not void."""
    arrivals: int | None
    """Messages that arrived in the interval; None: the reading is void, nothing else in it can be trusted."""
    backlog: int
    """B, messages: waiting in the queue and in flight at workers, which is all that is not finished."""
    completions: int
    """Messages finished in the interval."""
    busy_seconds: float
    """Worker-seconds spent on messages in the interval, at most the workers times the interval."""
    ready: int
    """Workers that take messages."""
    starting: int
    """Workers asked for that do not take messages yet."""
    min_workers: int
    max_workers: int
    declared_rate: float
    """Messages per second of one busy worker, as calibrated: the C of `assignment`, and a prior for mu."""
    start_seconds: float
    """From the wish for a worker until it takes messages."""
    cores: int
    """Processors that the workers share."""
    cpu_seconds: float | None = None
    """Processor-seconds that the workers used in the interval; None: not known."""
    coming_rate: float | None = None
    """Highest rate until workers of the next decision are ready. Only an experiment knows: for `oracle`."""
    coming_service_rate: float | None = None
    """Messages per second of one busy worker in that time, as only an experiment knows it."""

    @property
    def workers(self) -> int:
        """Workers that are ready or will be: what is on its way is not wished for twice."""
        return self.ready + self.starting

    def bounded(self, workers: int) -> int:
        """Return *workers*, or the bound that it is beyond."""
        return max(self.min_workers, min(self.max_workers, workers))


class State(NamedTuple):
    """What a policy remembers from one decision to the next; each uses what it needs.

    A tuple: policies make several a reading, and of tuples that is four times as fast as of dataclasses.
    """

    wanted: int | None = None
    """The last answer; None before the first."""
    decided_at: float | None = None
    """When a policy with a period of its own (`hpa`) last decided."""
    smooth_rate: float | None = None
    """EWMA of the arrival rate, messages per second; None before the first reading."""
    completions: float = 0.0
    """Messages finished, those of old readings counting less and less."""
    busy_seconds: float = 0.0
    """Worker-seconds in which they were, in the same way."""
    unfinished_seconds: float = 0.0
    """Worker-seconds since the last message was finished."""
    wishes: tuple[tuple[float, int], ...] = ()
    """Times and sizes of the wishes that still hold workers back from being retired."""
    begun_at: float | None = None
    """When the first reading was."""
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
