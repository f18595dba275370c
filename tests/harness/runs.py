"""Runs that were never measured: what plots, report and verdicts are tested with."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from dynamic.policies import chosen
from dynamic.simulator.queueing import Times
from dynamic.simulator.simulation import Setting, simulate
from harness.experiment.scaling import ScalingLoad, trial
from harness.experiment.scaling_system import Observed
from harness.record.findings import Change, Finding, LibraryShare, Repetition
from harness.record.findings import Profile as Anatomy
from harness.record.measurement import PERCENTILES, Measurement, Usage
from harness.record.run import Capacity, Point, Run, ScalingTrial
from lab.contract import Architecture
from lab.load.plans import Plan
from lab.load.profiles import Profile, step
from lab.middleware import MIDDLEWARES, VARIANTS

USAGE = Usage({"node": 0.4, "redis": 0.2}, {"node": 30.0, "redis": 12.5})
STUDIES = ("requests", "clients", "pipelined", "accepted")
LOAD = step(20.0, 100.0, at=8.0, seconds=20.0)
RATES = {"xmlrpc": 4000.0, "pyro4": 3000.0, "redis_impl": 2000.0, "rabbitmq": 1000.0}


def window(throughput: float = 1000.0, **changes: Any) -> Measurement:
    """Return a second in which every request was answered rightly."""
    done = round(throughput)
    times: dict[str, float | None] = {name: 2.0 + place for place, name in enumerate(PERCENTILES)}
    whole = Measurement(
        made=done,
        done=done,
        wrong=0,
        failed={},
        lost=0,
        duplicates=0,
        seconds=1.0,
        throughput=throughput,
        response_ms=times,
        service_ms=dict(times),
        slices=[throughput] * 20,
        backlog=[4] * 20,
        generator_cpu_seconds=0.3,
    )
    return replace(whole, **changes)


def lossy(**losses: Any) -> Measurement:
    """Return a window of 1,000 requests in which something went wrong: it has no throughput."""
    gone = losses.get("lost", 0) + losses.get("wrong", 0) + sum(losses.get("failed", {}).values())
    return replace(window(1000.0), done=1000 - gone, throughput=None, **losses)


def point(
    experiment: str = "requests",
    middleware: str = "xmlrpc",
    throughput: float = 1000.0,
    *,
    nodes: int = 1,
    measurement: Measurement | None = None,
    **changes: Any,
) -> Point:
    """Return a point; *nodes* other than 1 are n-node."""
    return Point(
        experiment,
        middleware,
        str(Architecture.ONE_NODE if nodes == 1 else Architecture.N_NODE),
        nodes,
        measurement=measurement or window(throughput),
        **{"clients": 4, "in_flight": 1, "usage": USAGE, **changes},
    )


def run_of(*points: Point, **changes: Any) -> Run:
    """Return a run of *points*."""
    environment: dict[str, object] = {"cores": 4, "load_before": 0.1, "libraries": {"redis": "8.1"}}
    configuration: dict[str, object] = {"seed": 1, "workload": "filter, generated texts"}
    run = Run("run", configuration, environment, started="2026-01-02T03:04:05Z", points=list(points))
    return replace(run, **changes)


def speedup_points(middleware: str = "xmlrpc", blocks: int = 3, **changes: Any) -> list[Point]:
    """Return blocks of 1, 2 and 3 nodes: n nodes make n times as much, times what the block is off by."""
    return [
        replace(
            point("speedup", middleware, 200.0 * nodes * (1 + block / 10), nodes=nodes),
            architecture=str(Architecture.N_NODE),
            work="5ms waiting",
            block=block,
            **changes,
        )
        for block in range(blocks)
        for nodes in (1, 2, 3)
    ]


def compared(ratio: float = 2.0, **changes: Any) -> Finding:
    """Return what three blocks of A, B and A again show, where B makes *ratio* times as much as A."""
    a, again = [1000.0, 1010.0, 990.0], [1001.0, 1009.0, 992.0]
    rates = {"redis_impl": a, "xmlrpc": [ratio * rate for rate in a]}
    return replace(
        Finding("compare", "xmlrpc against redis_impl", [ratio] * 3, rates=rates, again=again), **changes
    )


REPETITION = Repetition(
    plain_rate=1000.0,
    sampled_rate=950.0,
    cpu_ms={"node": 0.4, "generator": 0.2, "redis": 0.1},
    sampled_cpu_ms={"node": 0.44, "generator": 0.2, "redis": 0.1},
    samples={"node": {"transport": 30, "application": 10}, "generator": {"harness": 5, "unknown": 5}},
)


def full_run() -> Run:
    """Return a run with every kind of point, of all four, and capacities."""
    points: list[Point] = []
    for name in VARIANTS:
        for nodes in (1, 3):
            rate = RATES[name.partition(":")[0]] / (3 if ":" in name else 1)
            points += [
                point("requests", name, rate / 2, nodes=nodes, measurement=_short(rate / 2)),
                *(
                    point(study, name, rate, nodes=nodes, in_flight=50 if study == "pipelined" else 1)
                    for study in STUDIES
                ),
                *(point("requests", name, rate + block, nodes=nodes, block=block) for block in (1, 2, 3)),
            ]
        points += speedup_points(name)
    points += [_swept(name, nodes, share) for name in MIDDLEWARES for nodes in (1, 3) for share in (0.5, 1.0)]
    capacities = [_capacity(name) for name in MIDDLEWARES]
    anatomies = [
        Anatomy(name, "one-node", "filter", 1, 4, [REPETITION, REPETITION], objections=[])
        for name in MIDDLEWARES
    ]
    rates = [100.0, 101.0, 99.0]
    return run_of(
        *points,
        capacities=capacities,
        scalings=scaling_trials(),
        profiles=anatomies,
        findings=[
            Finding("xmlrpc", "XML-RPC insult_me", rates, bar=90.0),
            compared(),
            compared(change=CHANGE),
        ],
        libraries=[LibraryShare("xmlrpc:stock", {"library": 40.0, "carrying": 4.0}, {"library": 9})],
    )


CHANGE = Change("rabbitmq", "prefetch", "1", "200")
START_ALONE_SECONDS = 0.04


def scaling_trials() -> list[ScalingTrial]:
    """Return trials of two policies on one load, as if the system had done what the simulator says."""
    return [observed_trial(policy) for policy in ("adaptive", "assignment")]


def observed_trial(policy: str, profile: Profile = LOAD, **changes: Any) -> ScalingTrial:
    """Return a trial of *policy* from observations that the simulator made up."""
    load = ScalingLoad(Setting(profile, start=Times(START_ALONE_SECONDS, "in turn")))
    run = simulate(chosen(policy), load.setting)
    plan = Plan.following(profile, profile.duration_seconds, load.setting.seed)
    seen = Observed(10**12, start_seconds=run.samples[-1].start_seconds)
    seen.sent_ns = (plan.due_ns + seen.begin_ns).tolist()
    seen.done_ns = {number: round(1e9 * at) + 10**12 for number, at in enumerate(run.finished.tolist())}
    seen.confirmed = len(seen.done_ns)
    for sample, wanted, reason in zip(run.samples, run.wanted, run.reasons, strict=True):
        told = {**asdict(sample), "time": sample.time + seen.begin_ns / 1e9}
        seen.readings.append({"sample": told, "decision": {"wanted": wanted, "reason": reason}})
    for at in np.arange(0.0, profile.duration_seconds, 0.05):
        ready, paid = (int(steps.at(np.array([at]))[0]) for steps in (run.ready, run.paid))
        seen.workers.append((round(at * 1e9) + 10**12, 0, ready, paid - ready))
    for name, value in changes.items():
        setattr(seen, name, value)
    return trial(policy, load, 10.0, plan, seen)


def _short(throughput: float) -> Measurement:
    return window(throughput, seconds=0.1)


def _swept(middleware: str, nodes: int, share: float) -> Point:
    measured = window(share * RATES[middleware], offered=share * RATES[middleware], late_p99_ms=0.2)
    return point("sweep", middleware, nodes=nodes, measurement=measured)


def _capacity(middleware: str) -> Capacity:
    rate = RATES[middleware]
    tried: list[list[object]] = [[rate, True, ""], [2 * rate, False, "p99 80.0 ms is above 50 ms"]]
    return Capacity(middleware, str(Architecture.ONE_NODE), 1, 32, 50.0, rate, 1.05 * rate, tried)
