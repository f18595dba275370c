"""Simulate policies on a load profile: the same functions as in the system, millions of events per second.

Exact for a first-come first-served queue: every event, worker start and retirement has its time. Not in it:
what the broker and the network take, and time that the controller needs to decide.
"""

import math
import statistics
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from dynamic.policies import Policy
from dynamic.policies.sample import KEPT_STARTS, START_PRICE, TARGET_SECONDS, Sample, State, needed_workers
from dynamic.simulator.benchmark import Scores, Steps, provisioning, reaction_and_settling, reversals
from dynamic.simulator.queueing import Queue, Seconds, Times
from lab.errors import Code, InvalidRequest
from lab.load.plans import Plan
from lab.load.profiles import Profile

GRACE_SECONDS = 60.0
"""After the end of the profile, to finish what waits."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is simulated, the policy aside. InvalidRequest for what cannot be."""

    profile: Profile
    work: Times = field(default_factory=lambda: Times(0.1))
    start: Times = field(default_factory=lambda: Times(0.015))
    """From the wish for a worker until it takes messages."""
    min_workers: int = 1
    max_workers: int = 50
    interval_seconds: float = 2.0
    phase_seconds: float = 0.0
    """How long after multiples of the interval it is read: no clock is aligned with the load."""
    declared_rate: float | None = None
    """Messages per second of one busy worker, as the policies are told; None: the true one at the start."""
    drift_at: float | None = None
    """When work gets *drift* times as long; None: never."""
    drift: float = 2.0
    cores: int = 0
    """Processors that the work needs; 0: work only waits."""
    seed: int = 1
    start_price: float = START_PRICE
    """What a start costs, in worker-seconds."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_workers <= self.max_workers or not self.max_workers:
            got = f"got {self.min_workers} and {self.max_workers}"
            raise InvalidRequest(Code.MALFORMED, f"workers need 0 <= min <= max and max > 0, {got}")
        rate = 1.0 if self.declared_rate is None else self.declared_rate
        if not all(0 < one < math.inf for one in (self.work.mean, self.interval_seconds, self.drift, rate)):
            message = "work time, interval, drift and declared rate C must be above 0"
            raise InvalidRequest(Code.MALFORMED, message)
        if not 0 <= self.start_price < math.inf:
            raise InvalidRequest(Code.MALFORMED, f"a start cannot cost {self.start_price:g} worker-seconds")
        if not 0 <= self.phase_seconds < self.interval_seconds:
            message = f"a phase must be from 0 s on and below the interval, got {self.phase_seconds:g}"
            raise InvalidRequest(Code.MALFORMED, message)

    @property
    def readings(self) -> int:
        """How many there are while the profile lasts."""
        return math.ceil((self.profile.duration_seconds - self.phase_seconds) / self.interval_seconds)

    def slower_at(self, seconds: float) -> float:
        """Return how many times as long as at the start work takes."""
        return self.drift if self.drift_at is not None and seconds >= self.drift_at else 1.0

    def service_rate_at(self, seconds: float) -> float:
        """Return messages per second of one busy worker that has a processor if it needs one."""
        return 1 / (self.work.mean * self.slower_at(seconds))

    def need(self) -> Steps:
        """Return the fewest workers that the rates need, within the bounds."""
        profile = self.profile
        drift_at = 0.0 if self.drift_at is None else self.drift_at
        times = sorted({*profile.starts, drift_at if 0 < drift_at < profile.duration_seconds else 0.0})
        rates = [(profile.rate_at(at), self.service_rate_at(at)) for at in times]
        values = [min(self.max_workers, max(self.min_workers, needed_workers(*rate))) for rate in rates]
        return Steps(np.array(times), np.array(values, float))


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What happened under one policy."""

    setting: Setting
    arrivals: Seconds
    finished: Seconds
    """When each arrival was finished; infinite for those that still wait."""
    lost: int
    samples: tuple[Sample, ...]
    """Empty if they were not to be kept, as are the reasons."""
    wanted: tuple[int, ...]
    """After each reading."""
    reasons: tuple[str, ...]
    ready: Steps
    paid: Steps
    """Workers starting, ready or finishing their last message."""
    times: tuple[float, ...] = ()
    """Of the readings; empty: those of the samples."""

    @property
    def response_seconds(self) -> Seconds:
        """Response times of all arrivals."""
        return self.finished - self.arrivals

    @property
    def late_events(self) -> int:
        """Events whose response time was longer than the objective, or that were never finished."""
        return int((self.response_seconds > TARGET_SECONDS).sum())

    @property
    def worker_seconds(self) -> float:
        """Worker-seconds while the profile lasted."""
        return self.paid.area(self.setting.profile.duration_seconds)

    @property
    def starts(self) -> int:
        """Workers started by the decisions while the profile lasted."""
        return sum(change for _, change in self._changes() if change > 0)

    def _changes(self) -> list[tuple[float, int]]:
        numbers = (self.setting.min_workers, *self.wanted)
        times = self.times or [one.time for one in self.samples]
        changes = zip(times, np.diff(numbers).tolist(), strict=True)
        end = self.setting.profile.duration_seconds
        return [(time, change) for time, change in changes if change and time <= end]

    def scores(self, optimum: float | None = None) -> Scores:
        """Return how well the policy did. *optimum*: the cost to compare with."""
        duration, need = self.setting.profile.duration_seconds, self.setting.need()
        cost = self.worker_seconds + self.setting.start_price * self.starts
        actions = self._changes()
        response = self.response_seconds
        return Scores(
            len(response),
            100 * float(np.mean(response > TARGET_SECONDS)) if len(response) else 0.0,
            float(np.quantile(response, 0.99, method="higher")) if len(response) else 0.0,
            self.worker_seconds,
            self.starts,
            cost,
            None if optimum is None else cost / optimum,
            *provisioning(self.ready, need, duration),
            len(actions),
            reversals(actions),
            *reaction_and_settling(self.ready, need, duration),
            self.lost,
        )


def arrivals_of(setting: Setting) -> Seconds:
    """Return when the events of a run arrive. They do not depend on the policy."""
    plan = Plan.following(setting.profile, setting.profile.duration_seconds, setting.seed)
    arrivals: Seconds = plan.due_ns / 1e9
    return arrivals


def simulate(policy: Policy, setting: Setting, keep: bool = True) -> Run:
    """Run *policy*; the same setting gives the same events and work times to every policy.

    *keep*: samples and reasons too, half a kilobyte a reading.
    """
    return _Simulation(policy, setting).run(keep)


class _Starts:
    """Workers that are not ready yet, and how long the last ones took that are."""

    def __init__(self) -> None:
        self.ready_at: list[float] = []
        """When each of them is, in seconds."""
        self._begun_at: list[float] = []
        self._took: deque[float] = deque(maxlen=KEPT_STARTS)

    def begin(self, now: float, ready: float) -> None:
        """Let a worker start *now* that takes messages from *ready* on."""
        self._begun_at.append(now)
        self.ready_at.append(ready)

    def look(self, now: float) -> None:
        """Regard those as started that are ready by *now*."""
        pairs = list(zip(self._begun_at, self.ready_at, strict=True))
        self._took.extend(ready - begun for begun, ready in pairs if ready <= now)
        left = [pair for pair in pairs if pair[1] > now]
        self._begun_at, self.ready_at = [begun for begun, _ in left], [ready for _, ready in left]

    def gave_up(self, ready: float) -> bool:
        """Forget a worker that would have been ready then; false if there is none."""
        if ready not in self.ready_at:
            return False
        place = self.ready_at.index(ready)
        del self._begun_at[place], self.ready_at[place]
        return True

    def median(self, otherwise: float) -> float:
        """Return the median of what the last starts took; *otherwise* if there was none."""
        return statistics.median(self._took) if self._took else otherwise


class _Simulation:
    def __init__(self, policy: Policy, setting: Setting) -> None:
        self.policy, self.setting, self.state = policy, setting, State()
        self.arrivals = arrivals_of(setting)
        self.queue = Queue(self.arrivals, setting.work, setting.seed)
        self.generator = np.random.default_rng([setting.seed, 2])
        self.starts = _Starts()
        self.workers = 0
        self.ready_changes: list[tuple[float, int]] = []
        self.paid_changes: list[tuple[float, int]] = []
        self.before = (0.0, 0, 0, 0.0)
        """Time, arrivals, completions and busy seconds at the last reading."""
        self.declared_rate = setting.declared_rate or setting.service_rate_at(0.0)
        self.cores = setting.cores or 1_000_000

    def run(self, keep: bool) -> Run:
        times, wanted, samples, reasons = [], [], [], []
        self._scale(self.setting.min_workers, 0.0)
        for time in self._ticks():
            sample = self._sample(time)
            decision = self.policy(sample, self.state)
            self.state = decision.state
            self._scale(decision.wanted, time)
            times.append(time)
            wanted.append(decision.wanted)
            if keep:
                samples.append(sample)
                reasons.append(decision.reason)
        finished = self.queue.finished
        lost = self.queue.taken - int(np.isfinite(finished).sum())
        readings = (tuple(samples), tuple(wanted), tuple(reasons))
        steps = (Steps.summed(self.ready_changes), Steps.summed(self.paid_changes))
        return Run(self.setting, self.arrivals, finished, lost, *readings, *steps, tuple(times))

    def _ticks(self) -> Iterator[float]:
        """Serve up to each reading; end when the profile has and nothing waits, or after the grace."""
        end, interval = self.setting.profile.duration_seconds, self.setting.interval_seconds
        phase, drift_at, cores = self.setting.phase_seconds, self.setting.drift_at, self.setting.cores
        time, tick = 0.0, 0 if phase == 0 else -1
        while time < end or (self.queue.taken < len(self.arrivals) and time < end + GRACE_SECONDS):
            tick += 1
            last, time = time, phase + tick * interval
            if drift_at is not None and last < drift_at < time:
                self.queue.serve(drift_at, self.setting.slower_at(last), cores)
                last = drift_at
            self.queue.serve(time, self.setting.slower_at(last), cores)
            yield time

    def _sample(self, time: float) -> Sample:
        queue, setting = self.queue, self.setting
        self.starts.look(time)
        starting = self.starts.ready_at
        if queue.leaving:
            queue.leaving = [gone for gone in queue.leaving if gone > time]
        busy = [free - time for free in queue.free if free > time] + [gone - time for gone in queue.leaving]
        in_flight = len(busy) - len(starting)
        busy += [time - ready for ready in starting]  # those are among the not yet free, but do not work
        arrived = queue.arrived(time)
        done, busy_seconds = queue.taken - in_flight, queue.work_seconds - math.fsum(busy)
        then, arrived_then, done_then, busy_then = self.before
        self.before = (time, arrived, done, busy_seconds)
        return Sample(
            time=time,
            interval_seconds=time - then,
            arrivals=arrived - arrived_then,
            backlog=arrived - done,
            completions=done - done_then,
            busy_seconds=max(0.0, busy_seconds - busy_then),
            ready=self.workers - len(starting),
            starting=len(starting),
            min_workers=setting.min_workers,
            max_workers=setting.max_workers,
            declared_rate=self.declared_rate,
            start_seconds=self.starts.median(setting.start.mean),
            cores=self.cores,
            start_price=setting.start_price,
            coming_rate=self._coming_rate(time),
            coming_service_rate=setting.service_rate_at(time + setting.interval_seconds),
        )

    def _coming_rate(self, time: float) -> float:
        """Return the highest rate until what the next reading decides is ready."""
        profile = self.setting.profile
        until = time + self.setting.interval_seconds + self.setting.start.mean
        first = bisect_right(profile.starts, time)
        last = bisect_right(profile.starts, until, lo=first)
        rates = profile.rates[max(0, first - 1) : last]
        return max(rates, default=0.0) if time < profile.duration_seconds else 0.0

    def _scale(self, wanted: int, time: float) -> None:
        more = wanted - self.workers
        if more > 0:
            for ready in (time + self.setting.start.draw(self.generator, more)).tolist():
                self.queue.add(ready)
                self.starts.begin(time, ready)
                self.ready_changes.append((ready, 1))
            self.paid_changes.append((time, more))
        elif more < 0:
            self._retire(-more, time)
        self.workers = wanted

    def _retire(self, count: int, time: float) -> None:
        for gone in self.queue.retire(count, time):
            self.paid_changes.append((gone, -1))
            if self.starts.gave_up(gone):
                self.queue.leaving.remove(gone)
                self.ready_changes.append((gone, -1))
            else:
                self.ready_changes.append((time, -1))
