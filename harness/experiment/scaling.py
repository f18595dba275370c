"""Dynamic scaling: a policy on a load, on the real system and in the simulator, with the same scores."""

import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dynamic.calibration import scaled_object
from dynamic.policies import chosen
from dynamic.policies.sample import KEPT_STARTS, TARGET_SECONDS, Sample
from dynamic.simulator.benchmark import SIMULATED, Steps
from dynamic.simulator.optimum import optimum
from dynamic.simulator.queueing import Times
from dynamic.simulator.simulation import Run, Setting, simulate
from harness.experiment.bench import Bench
from harness.experiment.scaling_system import LEAD_SECONDS, Observed, ScalingSystem, observe
from harness.experiment.session import Step
from harness.load.workload import Workload
from harness.record.run import Decided, ScalingTrial, Series
from lab.cli.brokers import brokers
from lab.errors import Unavailable
from lab.load.plans import Plan
from lab.load.profiles import Profile, noisy, spike, steady, step
from lab.settings import settings

BROKERS = frozenset({"redis", "rabbitmq"})
START_SECONDS = 1.5
"""About what it takes to start a system, and to end it."""
SHORT = spike(5.0, 40.0, at=12.0, width=10.0, seconds=46.0)
SHORT_WORK = ("--work-time", "400ms")
"""The load of the short form, in `lab run`: policies differ in what they do after it. Few events and long
work: three systems at once, with 16 workers each, leave two cores half idle."""
DEFAULT_POLICIES = ("adaptive", "assignment:hold=8", "rate")
TABLE_POLICIES = (*DEFAULT_POLICIES, "hpa:faster=10")
TABLE_SECONDS = 28.0
TABLE_WORK = ("--work-time", "200ms")
TABLE_RATE = 17.0
"""Events per second that a trace is scaled to, on average."""

SLICE_SECONDS = 1.0
MOST_LATE_SENDING = 0.05
"""Seconds after their plan by which 99 % of the events must be sent, or the load is not what it says."""


@dataclass(frozen=True, slots=True)
class ScalingLoad:
    """A load for policies: the setting of the simulator, and the work that its workers declare."""

    setting: Setting
    work: tuple[str, str] = ("--work-time", "100ms")
    misjudged: float = 1.0
    """The policies are told a C that is so many times the calibrated one."""
    together: bool = False
    """Let all policies scale at the same time, each its own system: only for work that waits."""
    calibration_seconds: float = 3.0
    trials: int = 1
    """Each has fresh processes, and other arrivals at the same rates."""

    @property
    def work_words(self) -> str:
        """The declared work in words."""
        option, time = self.work
        return f"{time} {'waiting' if option == '--work-time' else 'computing'}"


def scaling(bench: Bench, policies: Sequence[str], load: ScalingLoad) -> Iterator[ScalingTrial]:
    """Calibrate one worker; then let each of *policies* scale under the same events, in each trial."""
    texts, raw = bench.workload.pool(), bench.raw
    if raw is None:
        raise ValueError("scaling keeps raw times: it needs a folder")
    with ScalingSystem(bench.brokers, load.setting, load.work) as system:
        rate_alone = system.calibrate(texts, load.calibration_seconds)
    setting = replace(load.setting, work=Times(1 / rate_alone), declared_rate=rate_alone * load.misjudged)
    profile = setting.profile
    for number in range(load.trials):
        now = replace(load, setting=replace(setting, seed=setting.seed + number))
        plan = Plan.following(profile, profile.duration_seconds, now.setting.seed)
        turned = _turned(policies, number)
        rounds = [turned] if load.together else [[policy] for policy in turned]
        for those in rounds:
            observed = observe(bench.brokers, those, now.setting, load.work, plan, texts, raw)
            for policy, seen in zip(those, observed, strict=True):
                found = trial(policy, now, rate_alone, plan, seen, number + 1)
                name = f"scaling-{profile.name}-{policy.replace(':', '-')}-{found.trial}.npz"
                _keep(seen, plan, raw / name.replace(" ", "-"))
                yield found


def _turned(policies: Sequence[str], by: int) -> Sequence[str]:
    """Return *policies* in another order for each trial: none is always the first."""
    first = by % len(policies)
    return [*policies[first:], *policies[:first]]


def trial(
    policy: str, load: ScalingLoad, rate_alone: float, plan: Plan, seen: Observed, number: int = 1
) -> ScalingTrial:
    """Return what came of *policy*, beside what the simulator says of it, workers starting in turn."""
    start = start_alone(seen, load.setting.min_workers)
    setting = replace(load.setting, phase_seconds=seen.phase_seconds)
    if start is not None:
        setting = replace(setting, start=Times(start, "in turn"))
    real = observed_run(setting, plan, seen)
    least = optimum(setting)
    simulated = simulate(chosen(policy), setting)
    profile = setting.profile
    response = real.response_seconds
    edges = np.arange(0.0, profile.duration_seconds + SLICE_SECONDS, SLICE_SECONDS)
    return ScalingTrial(
        policy=policy,
        profile=profile.name,
        description=profile.description,
        seconds=profile.duration_seconds,
        seed=setting.seed,
        trial=number,
        work=load.work_words,
        rate_alone=rate_alone,
        start_seconds=setting.start.mean if seen.start_seconds is None else seen.start_seconds,
        scores=real.scores(least),
        simulated=simulated.scores(least),
        confirmed=seen.confirmed,
        done=len(seen.done_ns),
        repeated=seen.repeated,
        wrong=seen.wrong,
        crashed=seen.crashed,
        decisions=[_decided(one, seen) for one in seen.readings],
        offered=_per_slice(edges, real.arrivals),
        measured=_per_slice(edges, real.finished),
        p99=_p99(edges, real.finished, response),
        starting=_curve(seen, 1),
        ready=_curve(seen, 2),
        needed=_of_steps(setting.need()),
        objections=_objections(plan, seen),
    )


def start_alone(seen: Observed, least: int) -> float | None:
    """Return how long a worker takes that starts alone, of the median of those that started in turn."""
    if seen.start_seconds is None:
        return None
    wanted = [least, *(one["decision"]["wanted"] for one in seen.readings)]
    batches = [least, *(later - earlier for earlier, later in itertools.pairwise(wanted) if later > earlier)]
    turns = [turn for size in batches for turn in range(1, size + 1)]
    return seen.start_seconds / statistics.median(turns[-KEPT_STARTS:] or [1])


def observed_run(setting: Setting, plan: Plan, seen: Observed) -> Run:
    """Return what was observed in the form that the simulator's scores are made of."""
    arrivals = plan.due_ns / 1e9
    finished = np.full(len(arrivals), np.inf)
    for number, at_ns in seen.done_ns.items():
        finished[number] = (at_ns - seen.begin_ns) / 1e9
    during = [one for one in seen.readings if one["sample"]["time"] * 1e9 > seen.begin_ns]
    samples = [Sample(**one["sample"]) for one in during]
    begin = seen.begin_ns / 1e9
    return Run(
        setting,
        arrivals,
        finished,
        max(0, seen.confirmed - len(seen.done_ns)),
        tuple(replace(one, time=one.time - begin) for one in samples),
        tuple(one["decision"]["wanted"] for one in during),
        tuple(one["decision"]["reason"] for one in during),
        _steps(seen, (2,)),
        _steps(seen, (1, 2, 3)),
    )


def _steps(seen: Observed, columns: tuple[int, ...]) -> Steps:
    """Return the sum of *columns* of the workers over time; what was before the load counts from 0 s on."""
    times = np.array([max(0.0, (one[0] - seen.begin_ns) / 1e9) for one in seen.workers])
    values = np.array([sum(one[column] for column in columns) for one in seen.workers], float)
    first = max(0, int(np.searchsorted(times, 0.0, side="right")) - 1)
    return Steps(times[first:], values[first:])


def _curve(seen: Observed, column: int) -> Series:
    """Return a column of the workers over time, where it changes."""
    times, values = _steps(seen, (column,))
    changes = np.flatnonzero(np.diff(values, prepend=np.nan))
    return Series(times[changes].round(3).tolist(), values[changes].tolist())


def _of_steps(steps: Steps) -> Series:
    return Series(steps.times.tolist(), steps.values.tolist())


def _per_slice(edges: Any, times: Any) -> Series:
    counts, _ = np.histogram(times[np.isfinite(times)], edges)
    return Series(edges[:-1].tolist(), (counts / SLICE_SECONDS).tolist())


def _p99(edges: Any, finished: Any, response: Any) -> Series:
    """Return the 99th percentile of the events answered in each slice; None where there were none."""
    index = np.searchsorted(edges, finished, side="right") - 1
    values: list[float | None] = []
    for part in range(len(edges) - 1):
        inside = response[index == part]
        values.append(float(np.quantile(inside, 0.99, method="higher")) if len(inside) else None)
    return Series(edges[:-1].tolist(), values)


def _decided(reading: dict[str, Any], seen: Observed) -> Decided:
    sample, decision = reading["sample"], reading["decision"]
    return Decided(
        round(sample["time"] - seen.begin_ns / 1e9, 3),
        sample["backlog"],
        decision["wanted"],
        sample["starting"],
        sample["ready"],
        decision["reason"],
    )


def _objections(plan: Plan, seen: Observed) -> list[str]:
    late = (np.array(seen.sent_ns) - seen.begin_ns - plan.due_ns) / 1e9
    p99 = float(np.quantile(late, 0.99)) if len(late) else 0.0
    if p99 > MOST_LATE_SENDING:
        return [f"the load was not sent as planned: 1 % of the events more than {1000 * p99:.0f} ms late"]
    return []


def _keep(seen: Observed, plan: Plan, path: Path) -> None:
    """Keep the raw times: planned and answered, nanoseconds from the start; -1 for never."""
    done = np.full(len(plan.due_ns), -1)
    for number, at_ns in seen.done_ns.items():
        done[number] = at_ns - seen.begin_ns
    np.savez_compressed(path, planned_ns=plan.due_ns, done_ns=done)


def scaling_step(policies: list[str], load: ScalingLoad) -> Step:
    """Return the step that lets each of *policies* scale under *load*."""
    profile = load.setting.profile
    starts = len(policies) * (START_SECONDS + LEAD_SECONDS)
    seconds = profile.duration_seconds * (1 if load.together else len(policies))
    return Step(
        f"dynamic scaling: {profile.name} ({profile.description}); {', '.join(policies)}",
        START_SECONDS + load.calibration_seconds + load.trials * (starts + seconds),
        BROKERS,
        partial(scaling, policies=policies, load=load),
    )


def short_step() -> Step:
    """Return the short form: three policies at the same time, 46 s."""
    return scaling_step(
        list(DEFAULT_POLICIES),
        ScalingLoad(Setting(SHORT), SHORT_WORK, together=True, calibration_seconds=2.0),
    )


def thorough_steps() -> list[Step]:
    """Return the long form: every load that work of 100 ms can follow, policies at the same time."""
    loads = [setting_of(SIMULATED[name](1)) for name in SIMULATED if name != "bursts"]
    policies = [*DEFAULT_POLICIES, "assignment", "hpa:faster=10", "reference"]
    return [scaling_step(policies, ScalingLoad(setting, together=True)) for setting in loads]


def table_steps(trace: Profile | None, trials: int, seed: int) -> list[Step]:
    """Return the loads of the table in docs/policies.md, in less than half a minute each.

    They have half as many workers as the simulated ones, and a quarter of the events: four systems at the
    same time leave two cores time. *trace*: what stands for a real load; None: `jumps`.
    """
    real = (trace or SIMULATED["jumps"](seed)).until(TABLE_SECONDS)
    rates = tuple(rate * TABLE_RATE / real.mean_rate for rate in real.rates)
    profiles = [
        step(5.0, 40.0, at=8.0, seconds=TABLE_SECONDS),
        spike(5.0, 60.0, at=8.0, width=6.0, seconds=TABLE_SECONDS),
        noisy(5.0, 40.0, seed, seconds=TABLE_SECONDS),
        replace(steady(15.0, TABLE_SECONDS), name="drift"),
        replace(real, rates=rates, description=f"{real.description}; scaled to {TABLE_RATE:g}/s on average"),
    ]
    settings = [setting_of(profile, seed=seed) for profile in profiles]
    loads = [ScalingLoad(one, TABLE_WORK, together=True, trials=trials) for one in settings]
    return [scaling_step(list(TABLE_POLICIES), load) for load in loads]


def setting_of(profile: Profile, least: int = 1, most: int = 50, seed: int = 1) -> Setting:
    drift_at = profile.duration_seconds / 2 if profile.name == "drift" else None
    return Setting(profile, min_workers=least, max_workers=most, drift_at=drift_at, seed=seed)


def calibrate(load: ScalingLoad, workload: Workload, *, as_export: bool) -> int:
    """Print C for the declared work, in both units, or what Kubernetes needs of it."""
    with brokers(settings(), BROKERS) as urls:
        missing = BROKERS - urls.kinds
        if missing:
            raise Unavailable(f"calibration needs {' and '.join(sorted(missing))}")
        with ScalingSystem(urls, load.setting, load.work) as system:
            rate = system.calibrate(workload.pool(), load.calibration_seconds)
            start_seconds = system.start_seconds_of(load.setting.max_workers) if as_export else 0.0
    if as_export:
        least, most = load.setting.min_workers, load.setting.max_workers
        print(scaled_object(rate, start_seconds, least, most), end="")
        return 0
    per_target = rate * TARGET_SECONDS
    print(f"one worker, {load.work_words}, never idle: {rate:.4g} messages per second")
    print(f"C = {per_target:.4g} messages per worker per Tr ({TARGET_SECONDS:g} s)")
    print(f"use it:  python -m dynamic --C {per_target:.4g} {' '.join(load.work)}")
    return 0
