"""The policy `adaptive`: what it believes of the load, how many workers that needs, and when some may stop.

It plans for the objective: an event may wait, so a short backlog is a buffer, not a reason for more workers.
Why so, and what each constant costs: docs/decisions/0008 and docs/policies.md.
"""

import math
from typing import NamedTuple

from dynamic.decision import State
from dynamic.sample import TARGET_SECONDS, Sample, arrival_rate, ceil

MOST_RATES = 10
"""Readings whose highest rate may come again before new workers are ready."""
LONGEST_START_SECONDS = 1.5
"""A start that is planned with: what takes longer cannot keep the objective anyway."""
LEAST_SECONDS = 0.2
"""What is left of the objective at least, for a division."""


class Believed(NamedTuple):
    """What one reading and the memory tell of the load. Rates are messages per second."""

    rate: float
    """Of the last interval."""
    rising: float
    """The rate to plan with: higher if it is going up."""
    peak: float
    """The highest of the last readings."""
    service_rate: float
    """Of one busy worker."""
    waiting: int
    in_flight: float
    """Half of it is done, on average."""
    workers: int
    """Ready or starting."""
    start_seconds: float
    interval_seconds: float
    """Until the next reading, at most the objective."""

    @property
    def slack_seconds(self) -> float:
        """How long an event may wait, if its work and a start must still fit into the objective."""
        return max(0.0, TARGET_SECONDS - 1 / self.service_rate - self.start_seconds)

    def needed(self, wait_share: float) -> int:
        """Return the fewest workers that leave a wait of at most *wait_share* of the slack.

        That is what waits when those of the next reading's decision are ready. Until then no event may become
        late, even if the rate is the highest of the last readings again.
        """
        seconds = self.interval_seconds
        before_next = self.waiting + max(self.peak, self.rising) * (
            self.start_seconds + 1 / self.service_rate
        )
        done = self.workers * self.service_rate * self.start_seconds
        oldest = max(LEAST_SECONDS, TARGET_SECONDS - 1 / self.service_rate - self.start_seconds)
        work = self.waiting + self.in_flight + self.rising * (seconds + self.start_seconds)
        most = max(
            self._workers_for(before_next, seconds),
            (self.waiting - done) / (self.service_rate * oldest),
            self._workers_for(work, seconds + wait_share * self.slack_seconds),
        )
        return max(0, ceil(most))

    def to_clear(self) -> int:
        """Return the workers that clear everything by the next reading: the formula of the assignment."""
        messages = self.waiting + 2 * self.in_flight + self.rising * self.interval_seconds
        return ceil(messages / (self.service_rate * self.interval_seconds))

    @property
    def is_behind(self) -> bool:
        """Whether the present workers are too slow for what waits."""
        return self.waiting > self.slack_seconds * self.workers * self.service_rate

    def _workers_for(self, work: float, seconds: float) -> float:
        """Return the workers for *work* messages: the present ones at once, more when they are started."""
        added = (work - self.workers * self.service_rate * self.start_seconds) / (self.service_rate * seconds)
        if added > self.workers:
            return added
        return work / (self.service_rate * (seconds + self.start_seconds))

    def words(self) -> str:
        """Say what the load is."""
        return f"{self.rate:.4g}/s come, each worker does {self.service_rate:.3g}/s, {self.waiting} wait"


def believe(sample: Sample, state: State, trend: float) -> tuple[Believed, State]:
    """Return what is believed after a reading, and *state* with its rate.

    *trend*: the share of the last rise by which the rate is expected to rise again.
    """
    rate = arrival_rate(sample)
    before = state.rates[-1] if state.rates else rate
    rates = (*state.rates[1 - MOST_RATES :], rate)
    believed = Believed(
        rate,
        rate + trend * max(0.0, rate - before),
        max(rates),
        state.completions / state.busy_seconds,
        max(0, sample.backlog - sample.ready),
        min(sample.ready, sample.backlog) / 2,
        sample.workers,
        min(sample.start_seconds, LONGEST_START_SECONDS),
        max(LEAST_SECONDS, min(sample.interval_seconds, TARGET_SECONDS)),
    )
    return believed, state._replace(rates=rates)


def with_service(sample: Sample, state: State, weight: float, trust: float) -> State:
    """Return *state* with the new completions and busy seconds: their ratio is mu.

    Old ones fade with *weight*, but to no less than *trust* busy seconds; the declared rate counts as so many
    at the start, and fades too.
    """
    completions, busy_seconds = state.completions, state.busy_seconds
    if not busy_seconds:
        completions, busy_seconds = trust * sample.declared_rate, trust
    elif not (sample.busy_seconds or sample.completions):
        return state
    unfinished = state.unfinished_seconds + sample.busy_seconds
    if sample.completions:  # until something comes out, new workers would look infinitely slow
        kept = max(1 - weight, min(1.0, trust / busy_seconds))  # a few messages are no measurement
        completions = kept * completions + sample.completions
        busy_seconds = kept * busy_seconds + unfinished
        unfinished = 0.0
    return state._replace(completions=completions, busy_seconds=busy_seconds, unfinished_seconds=unfinished)


def after_calm(
    sample: Sample, state: State, was: int, enough: int, patience: float
) -> tuple[int, State, str]:
    """Return how many of *was* workers stay where *enough* would do, the memory, and why more stay.

    A worker stops when it was not needed for half of what a start costs, in seconds, and when the surplus of
    all, as a share of the workers, has added up to *patience*: so a few too many stay longer than many.
    """
    hold = sample.start_price / 2
    calm = (*state.calm, (sample.time, enough))
    surplus = state.surplus + (was - enough) / was
    seconds = sample.time - calm[0][0] + sample.interval_seconds
    if seconds >= hold and surplus >= patience:
        recent = [size for time, size in calm if sample.time - time < hold or time == sample.time]
        return min(was, max(recent)), state._replace(calm=(), surplus=0.0), ""
    left = max(
        hold - seconds, math.ceil((patience - surplus) * was / (was - enough)) * sample.interval_seconds
    )
    why = f"{enough} would be enough, but none stops before {max(left, 0):.0f} s more of calm"
    return was, state._replace(calm=calm, surplus=surplus), why
