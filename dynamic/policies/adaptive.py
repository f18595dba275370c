"""The policy `adaptive`: how it estimates the load, how many workers that needs, and when some may stop.

It plans for the objective: an event may wait, so a short backlog is a buffer, not a reason for more
workers. Why so, and what each constant costs: docs/decisions/0008 and docs/policies.md.

It also sees whether more workers help. Workers report the processor time that they use. Where it is
nearly all there is, one more worker than processors is enough. Where others use the processors too, it
does not show; then two times in which every worker was busy and messages waited are compared. If the
workers that were added in between brought less than half of what those before had brought each,
something else is the limit.
"""

import math
import sys
from typing import NamedTuple

from dynamic.policies.sample import TARGET_SECONDS, Evidence, Level, Sample, State, arrival_rate, ceil

MOST_RATES = 10
"""Readings whose highest rate may come again before new workers are ready."""
LONGEST_START_SECONDS = 1.5
"""A start that is planned with: what takes longer cannot keep the objective anyway."""
LEAST_SECONDS = 0.2
"""What is left of the objective at least, for a division."""


class LoadEstimate(NamedTuple):
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
        return f"{self.rate:.4g}/s come and {self.waiting} wait; a worker does {self.service_rate:.3g}/s"


def estimate(sample: Sample, state: State, trend: float) -> tuple[LoadEstimate, State]:
    """Return the estimate of the load after a reading, and *state* with its rate.

    *trend*: the share of the last rise by which the rate is expected to rise again.
    """
    rate = arrival_rate(sample)
    before = state.rates[-1] if state.rates else rate
    rates = (*state.rates[1 - MOST_RATES :], rate)
    load = LoadEstimate(
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
    return load, state._replace(rates=rates)


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


def after_calm(sample: Sample, state: State, was: int, enough: int, most: float) -> tuple[int, State, str]:
    """Return how many of *was* workers stay where *enough* would do, the memory, and why more stay.

    A worker stops when it was not needed for half of what a start costs, in seconds, and when the surplus of
    all, as a share of the workers, has added up to *most*: so a few too many stay longer than many.
    """
    hold = sample.start_price / 2
    calm = (*state.calm, (sample.time, enough))
    surplus = state.surplus + (was - enough) / was
    seconds = sample.time - calm[0][0] + sample.interval_seconds
    if seconds >= hold and surplus >= most:
        recent = [size for time, size in calm if sample.time - time < hold or time == sample.time]
        return min(was, max(recent)), state._replace(calm=(), surplus=0.0), ""
    left = max(hold - seconds, math.ceil((most - surplus) * was / (was - enough)) * sample.interval_seconds)
    why = f"{enough} would be enough, but none stops before {max(left, 0):.0f} s more of calm"
    return was, state._replace(calm=calm, surplus=surplus), why


BUSY_SHARE = 0.9
"""Workers count as all busy from this share of their time on."""
HELPING_SHARE = 0.5
"""What an added worker must bring at least, of what an earlier one brings."""
SAME_SHARE = 0.1
"""Numbers of busy workers that differ by less are one level."""
SLOW_SHARE = 0.8
"""Workers that do less than this share of what one does alone are slow."""
HURT_SHARE = 0.75
"""With the limit, throughput must stay above this share of what it was, or the limit is wrong."""
ALL_SHARE = 0.75
"""Of the processors, what workers use when they use them all: broker and controller need some, too."""


def observe(sample: Sample, evidence: Evidence) -> Evidence:
    """Return *evidence* with a reading that is not void."""
    if sample.completions and 0 < sample.busy_seconds <= sample.cores * sample.interval_seconds:
        evidence = evidence._replace(alone=sample.completions / sample.busy_seconds)
    if not _is_saturated(sample):
        if sample.backlog <= sample.workers:  # caught up
            return Evidence(alone=evidence.alone)
        return evidence._replace(now=None)
    if not evidence.limit and _uses_all_cores(sample):
        rate = sample.completions / sample.interval_seconds
        return evidence._replace(now=None, limit=sample.cores + 1, limit_rate=rate)
    now = _joined(evidence.now, Level(sample.interval_seconds, sample.completions, sample.busy_seconds))
    evidence = evidence._replace(now=now)
    if not now.is_ripe:
        return evidence
    return _unlimited_if_hurt(now, evidence) if evidence.limit else _judged(now, evidence, sample.cores)


def as_many_as_help(sample: Sample, evidence: Evidence, wish: int, reason: str) -> tuple[int, str]:
    """Return *wish* and its *reason*; or fewer where more would not help, and why not more."""
    limit = evidence.limit
    if limit is not None and wish > limit:
        return limit, f"more than {limit} workers have not helped on {sample.cores} cores"
    if evidence.is_open and wish > sample.workers > sample.cores:
        return sample.workers, "waiting to see whether the added workers help"
    if wish > (bearable := _bearable_workers(sample, evidence)):
        return bearable, "workers are slow as if they shared processors; trying whether more help"
    return wish, reason


def _bearable_workers(sample: Sample, evidence: Evidence) -> int:
    """Return how many workers to try at most; very many if nothing speaks against more.

    Where more workers are busy than there are processors and all of them do no more than one on each would,
    the processors may be the limit: no more if none waits for a worker, or else half as many again, to see.
    """
    busy = sample.busy_seconds / sample.interval_seconds
    rate = sample.completions / sample.interval_seconds
    is_slow = rate < SLOW_SHARE * busy * evidence.alone and rate <= sample.cores * evidence.alone * 1.1
    if busy <= sample.cores or not is_slow:
        return sys.maxsize
    return math.ceil(1.5 * sample.workers) if _is_saturated(sample) else sample.workers


def _uses_all_cores(sample: Sample) -> bool:
    """Tell whether the workers compute so much that another could only take from the others."""
    if sample.cpu_seconds is None or sample.ready <= sample.cores:
        return False
    return sample.cpu_seconds >= ALL_SHARE * sample.cores * sample.interval_seconds


def _is_saturated(sample: Sample) -> bool:
    enough = BUSY_SHARE * sample.ready * sample.interval_seconds
    return 0 < sample.ready < sample.backlog and sample.busy_seconds >= enough


def _joined(level: Level | None, new: Level) -> Level:
    if level is None or abs(new.workers - level.workers) > SAME_SHARE * level.workers:
        return new
    return Level(
        level.seconds + new.seconds,
        level.completions + new.completions,
        level.busy_seconds + new.busy_seconds,
    )


def _judged(now: Level, evidence: Evidence, cores: int) -> Evidence:
    before = evidence.before
    if before is None or now.workers <= before.workers * (1 + SAME_SHARE):
        return evidence._replace(before=now)
    each = before.rate / before.workers
    helped = (now.rate - before.rate) / (now.workers - before.workers)
    # One more than the processors keeps them busy while another worker waits for the broker.
    best = max(now.rate, before.rate) / max(each, evidence.alone)
    useful = max(cores + 1, math.ceil(round(best, 6)))
    if helped >= HELPING_SHARE * each or now.workers <= useful:
        return evidence._replace(before=now)
    return evidence._replace(now=None, limit=useful, limit_rate=max(now.rate, before.rate))


def _unlimited_if_hurt(now: Level, evidence: Evidence) -> Evidence:
    """Forget a limit under which less is done: the workers had become slower for another reason."""
    is_limited = now.workers <= (evidence.limit or 0) + SAME_SHARE
    if is_limited and now.rate < HURT_SHARE * evidence.limit_rate:
        return Evidence(now=now, alone=evidence.alone)
    return evidence
