"""Whether more workers help: on few processors they do not, and then their number must stop growing.

Workers report the processor time that they use. Where it is nearly all there is, one more worker than
processors is enough. Where others use the processors too, it does not show; then two times in which every
worker was busy and messages waited are compared. If the workers that were added in between brought less than
half of what those before had brought each, something else is the limit.
"""

import math
import sys
from typing import NamedTuple

from dynamic.sample import Sample

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
WORK_TIMES = 2.0
"""How many times the mean work time a level lasts before it is judged: first its messages must come out."""


class Level(NamedTuple):
    """A time with about the same number of workers, all of them busy."""

    seconds: float = 0.0
    completions: int = 0
    busy_seconds: float = 0.0

    @property
    def workers(self) -> float:
        """Mean number of busy workers."""
        return self.busy_seconds / self.seconds

    @property
    def rate(self) -> float:
        """Messages per second of them all."""
        return self.completions / self.seconds

    @property
    def is_ripe(self) -> bool:
        """Whether it has lasted long enough for what its workers began to have come out."""
        return self.completions > 0 and self.seconds * self.completions >= WORK_TIMES * self.busy_seconds


class Evidence(NamedTuple):
    """What has been seen of busy workers so far."""

    now: Level | None = None
    """The present level; None when workers have time left."""
    before: Level | None = None
    """The last judged level with fewer workers."""
    limit: int | None = None
    """Workers beyond which more do not help; None: not known."""
    limit_rate: float = 0.0
    """Messages per second when the limit was found."""
    alone: float = 0.0
    """Messages per second of a worker when each had a processor of its own; 0: not known."""

    @property
    def is_open(self) -> bool:
        """Whether workers were added of which one cannot say yet if they help."""
        return self.before is not None and self.now is not None and not self.now.is_ripe


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
