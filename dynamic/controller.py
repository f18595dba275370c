"""The controller, the master of the workers: reads the queues and the pool, asks a policy, tells the pool."""

import bisect
import json
import math
import time
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Self

from dynamic.events import Count, EventQueues
from dynamic.policies import Policy
from dynamic.policies.sample import Decision, Sample, State
from dynamic.pool.client import PoolClient
from dynamic.pool.status import PoolStatus, quantile
from lab.errors import Code, InvalidRequest, Unavailable


@dataclass(frozen=True, slots=True)
class Forecast:
    """Rates (messages per second) from *begin*, a time of the monotonic clock, on.

    *starts*: seconds after it at which each of *rates* begins; the last one ends at *seconds*.
    *service_rates*: pairs of seconds after it, and messages per second of a busy worker from then on.
    """

    begin: float
    starts: tuple[float, ...]
    rates: tuple[float, ...]
    seconds: float
    service_rates: tuple[tuple[float, float], ...]
    phase_seconds: float = 0.0
    """The controller reads this time after *begin*, and every interval before and after."""

    def rate_between(self, first: float, last: float) -> float:
        """Return the highest rate between two times of the monotonic clock."""
        first, last = first - self.begin, last - self.begin
        if first >= self.seconds or last < 0:
            return 0.0
        low, high = bisect.bisect_right(self.starts, first), bisect.bisect_right(self.starts, last)
        return max(self.rates[max(0, low - 1) : high], default=0.0)

    def service_rate_at(self, time: float) -> float:
        """Return messages per second of a busy worker."""
        rates = [rate for since, rate in self.service_rates if since <= time - self.begin]
        return rates[-1] if rates else self.service_rates[0][1]

    def write(self, path: Path) -> None:
        """Write what :meth:`read` reads."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file; InvalidRequest if it is not such a one."""
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            forecast = cls(
                float(fields["begin"]),
                tuple(map(float, fields["starts"])),
                tuple(map(float, fields["rates"])),
                float(fields["seconds"]),
                tuple((float(since), float(rate)) for since, rate in fields["service_rates"]),
                float(fields.get("phase_seconds", 0.0)),
            )
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise InvalidRequest(Code.MALFORMED, f"{path}: not a forecast: {error!r}") from error
        if not forecast.is_whole:
            message = "as many starts as rates, in order, and numbers that are not negative"
            raise InvalidRequest(Code.MALFORMED, f"{path}: not a forecast: {message}")
        return forecast

    @property
    def is_whole(self) -> bool:
        """Whether it says for each time what comes then."""
        numbers = (
            self.begin,
            self.seconds,
            self.phase_seconds,
            *self.starts,
            *self.rates,
            *chain(*self.service_rates),
        )
        return (
            all(0 <= number < math.inf for number in numbers)
            and all(rate > 0 for _, rate in self.service_rates)
            and 0 < len(self.starts) == len(self.rates)
            and list(self.starts) == sorted(self.starts)
            and len(self.service_rates) > 0
        )


SHOWN_SECONDS = 10.0
"""Response times are shown over the readings of so many seconds."""
LOST_COUNT = "a count of arrivals was lost with its connection; counting begins anew"
GONE = "Work_queue was purged, deleted or full"
SLACK_EVENTS, SLACK_SHARE = 50, 0.5
"""Counts are not read at the same moment. They may differ by so many events, and by this share of them."""
USUAL_START_SECONDS = 0.05
"""Until a worker has been seen to start."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What does not change while a controller runs."""

    min_workers: int
    max_workers: int
    declared_rate: float
    """C per second: messages per second of one busy worker, as calibrated."""
    interval_seconds: float
    cores: int
    start_price: float
    """Worker-seconds that a start costs."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One decision, and what it was made of."""

    at: float
    """Wall clock, seconds."""
    sample: Sample
    decision: Decision
    waiting: int
    p99_seconds: float | None
    """Of the events finished in the last SHOWN_SECONDS, by this host's publishers; None: none."""
    leaving: int
    crashed: int
    """Workers that ended unasked so far."""
    trouble: str
    """Why the reading is void, or no worker starts; empty: all is well."""


@dataclass(slots=True)
class _LastReading:
    """The last reading that was not void."""

    at: float
    pool: int
    backlog: int
    finished: int
    busy_seconds: float
    cpu_seconds: float


@dataclass(slots=True)
class Controller:
    """Decides once a :meth:`tick`. Unavailable if the pool is gone."""

    queues: EventQueues
    pool: PoolClient
    policy: Policy
    bounds: Bounds
    forecast: Forecast | None = None
    _state: State = field(default_factory=State)
    _before: _LastReading | None = None
    _buckets: list[tuple[float, tuple[int, ...]]] = field(default_factory=list)

    def begin(self) -> None:
        """Adopt the workers that run, forget arrivals of the time before, keep to the bounds."""
        waiting = self.queues.read().waiting
        status = self.pool.take_control()
        running = status.ready + status.starting
        wanted = min(self.bounds.max_workers, max(self.bounds.min_workers, running))
        self._state = State(wanted=wanted)
        status = self.pool.scale(wanted)
        self._before = _before(time.monotonic(), waiting, status)

    def tick(self) -> Reading:
        """Read, decide, and let the pool follow."""
        count, trouble = self._count()
        status = self.pool.status()
        if failures := status.failures:
            trouble = trouble or f"workers end as soon as they begin, {failures} so far"
        now = time.monotonic()
        waiting = count.waiting if count else 0
        arrivals, missed = self._checked(count, status)
        sample = self._sample(now, arrivals, waiting, status)
        decision = self.policy(sample, self._state)
        self._state = decision.state
        if count or self._before is None:
            self._before = _before(now, waiting, status)
        self.pool.scale(decision.wanted)
        return Reading(
            time.time(),
            sample,
            decision,
            waiting,
            self._p99(now, status.buckets),
            status.leaving,
            status.crashed,
            trouble or missed,
        )

    def _count(self) -> tuple[Count | None, str]:
        try:
            count = self.queues.read()
        except Unavailable as error:
            return None, error.message
        return count, LOST_COUNT if count.arrivals is None else ""

    def _checked(self, count: Count | None, status: PoolStatus) -> tuple[int | None, str]:
        """Return the arrivals, and what is wrong with them.

        The arrivals are what was finished and what the backlog grew by. Count_queue must agree, or a person
        deleted, purged or unbound a queue since the last reading.
        """
        before = self._before
        if count is None or count.arrivals is None or before is None or before.pool != status.pid:
            return None, ""
        finished = status.finished - before.finished
        came = finished + count.waiting + status.under_way - before.backlog
        slack = SLACK_EVENTS + SLACK_SHARE * max(finished, count.arrivals)
        if came > count.arrivals + slack:
            return (
                came,
                f"Count_queue has {count.arrivals} of about {came} events: purged, deleted or bypassed",
            )
        if came < count.arrivals - slack:
            return count.arrivals, f"about {count.arrivals - came} events are gone: {GONE}"
        return count.arrivals, ""

    def _sample(self, now: float, arrivals: int | None, waiting: int, status: PoolStatus) -> Sample:
        before = self._before
        if before is None or before.pool != status.pid:  # its counts begin anew
            before = _before(now, waiting, status)
        seconds = max(now - before.at, 1e-3)
        workers = status.ready + status.leaving
        busy = status.busy_seconds - before.busy_seconds
        start = status.start_seconds
        bounds, ahead = self.bounds, now + self.bounds.interval_seconds
        return Sample(
            time=now,
            interval_seconds=seconds,
            arrivals=arrivals,
            backlog=waiting + status.under_way,
            completions=status.finished - before.finished,
            busy_seconds=min(max(0.0, busy), max(1, workers) * seconds),
            cpu_seconds=max(0.0, status.cpu_seconds - before.cpu_seconds),
            ready=status.ready,
            starting=status.starting,
            min_workers=bounds.min_workers,
            max_workers=bounds.max_workers,
            declared_rate=bounds.declared_rate,
            start_seconds=USUAL_START_SECONDS if start is None else start,
            cores=bounds.cores,
            start_price=bounds.start_price,
            coming_rate=self.forecast.rate_between(now, ahead) if self.forecast else None,
            coming_service_rate=self.forecast.service_rate_at(ahead) if self.forecast else None,
        )

    def _p99(self, now: float, buckets: tuple[int, ...]) -> float | None:
        self._buckets.append((now, buckets))
        while len(self._buckets) > 1 and self._buckets[1][0] < now - SHOWN_SECONDS:
            self._buckets.pop(0)
        first = self._buckets[0][1]
        return quantile([max(0, new - old) for new, old in zip(buckets, first, strict=True)], 0.99)


def _before(now: float, waiting: int, status: PoolStatus) -> _LastReading:
    backlog = waiting + status.under_way
    counts = status.pid, backlog, status.finished
    return _LastReading(now, *counts, status.busy_seconds, status.cpu_seconds)
