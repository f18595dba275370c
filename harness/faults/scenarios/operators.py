"""What operators do: delete queues and keys, fill or block a broker, start things twice, set the clock."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

from harness.faults.by_hand import (
    WallClock,
    deletable,
    full_queue,
    full_redis,
    out_of_memory,
    read_only_redis,
    redis_under,
)
from harness.faults.load import Entry, Load, Outcome, Stream, percentile
from harness.faults.rig import (
    ALL,
    BOTH,
    LEAST_ANSWERED_PERCENT,
    TEXTS,
    Injector,
    Rig,
    Scenario,
    settled,
    systems,
    trial,
)
from harness.faults.site import Brokers, Site, dead_letters, site
from harness.record.run import Check, Fault, FaultTrial
from lab.contract import Application, Architecture
from lab.errors import Code
from lab.load.plans import Plan
from lab.process.launcher import DidNotStart, Handle, ProcessSpec

CLIENTS = 4
RATE = 80.0
SERVED_AGAIN_SECONDS = 5.0
REFUSED_WITHIN_SECONDS = 1.0
FIRST_AT_SECONDS = 1.0
TOOL_SECONDS = 30.0
"""What rabbitmqctl may take to begin and to end a refusal; the load is stopped when it has."""
REFUSALS = frozenset({Code.OVERLOADED, Code.UNAVAILABLE})


def deleted(rig: Rig, middleware: str) -> FaultTrial:
    """Delete the queues or keys of a filter one after the other while texts come."""
    most, pause = rig.of((3, 0.7), (8, 1.0), (100, SERVED_AGAIN_SECONDS))
    had = 0
    with site(middleware, Application.FILTER, rig.brokers) as system:
        names = sorted(deletable(system))
        plan = Plan.constant(RATE, FIRST_AT_SECONDS + (min(most, len(names)) + 2) * pause)
        load = Load(systems([system]), Stream(rig.seed, TEXTS), plan, CLIENTS)
        injector = Injector(load, [system], rig.seed)
        chosen = injector.chance.sample(names, min(most, len(names)))
        with load:
            injector.wait(FIRST_AT_SECONDS)
            for name in chosen:
                injector.faults.append(Fault("deleted", name, round(load.seconds(), 3)))
                had += deletable(system)[name]() if name in deletable(system) else 0
                # RabbitMQ confirms a message that arrives as its queue is deleted, and does not count it.
                had += CLIENTS if system.middleware.broker == "rabbitmq" else 0
                injector.wait(load.seconds() + pause)
        ended = settled(load, injector, [system], SERVED_AGAIN_SECONDS)
        gone = frozenset(ended.account.lost[:had])  # what was deleted is nowhere, and counted as such
        ended = settled(load, injector, [system], 0.0, gone)
    at = [load.start_ns + int(fault.at_seconds * 1e9) for fault in injector.faults]
    checks = [Check("served again", _served_again(at, ended.entries), SERVED_AGAIN_SECONDS, "s")]
    figures = {"deleted texts, at most": float(had), "of them acknowledged": float(len(gone))}
    return trial("deleted", middleware, rig, ended, checks, figures=figures)


DELETED = Scenario(
    "deleted",
    "queues or keys are deleted by hand: clients get an error, and are served again within 5 s",
    deleted,
    18.0,
    75.0,
)


def full(rig: Rig, middleware: str) -> FaultTrial:
    """Let the broker and the store refuse everybody for a while, in each way that they know."""
    lasting = rig.of(1.5, 2.5, 8.0)
    times: list[tuple[int, int]] = []
    with site(middleware, Application.FILTER, rig.brokers) as system:
        refusals = _refusals(system)
        plan = Plan.constant(RATE, FIRST_AT_SECONDS + len(refusals) * (2 * lasting + TOOL_SECONDS))
        load = Load(systems([system]), Stream(rig.seed, TEXTS), plan, CLIENTS)
        injector = Injector(load, [system], rig.seed)
        with load:
            injector.wait(FIRST_AT_SECONDS)
            for name, refusing in refusals.items():
                with refusing():
                    injector.faults.append(Fault(name, "broker", round(load.seconds(), 3)))
                    begun = load.seconds()
                    injector.wait(begun + lasting)
                times.append((int(begun * 1e9), int(load.seconds() * 1e9)))
                injector.wait(load.seconds() + lasting)
            load.stop()
        ended = settled(load, injector, [system])
        letters = dead_letters(system)
    begun_ns = [load.start_ns + begin for begin, _ in times]
    refused = [entry for entry in ended.entries if entry.code and not _was_under_way(entry, begun_ns)]
    over = [load.start_ns + end for _, end in times]
    waited = percentile([(entry.done_ns - entry.sent_ns) / 1e9 for entry in refused], 0.99)
    checks = [
        Check("refused with another code", sum(entry.code not in REFUSALS for entry in refused), 0),
        Check("refused, p99", waited or 0.0, REFUSED_WITHIN_SECONDS, "s"),
        Check("dead letters", len(letters), 0),
        Check("served again", _served_again(over, ended.entries), SERVED_AGAIN_SECONDS, "s"),
    ]
    return trial("full", middleware, rig, ended, checks, figures={"refused": float(len(refused))})


def _served_again(at_ns: list[int], entries: list[Entry]) -> float | None:
    """Return after how long each operation was served again, at the worst: of what was sent after a fault."""
    waits: list[float | None] = []
    for at, operation in product(at_ns, TEXTS):
        sent = (entry for entry in entries if entry.operation is operation and entry.sent_ns > at)
        done = (entry.done_ns for entry in sent if entry.outcome is Outcome.ACKNOWLEDGED)
        first = min(done, default=None)
        waits.append(None if first is None else (first - at) / 1e9)
    return None if None in waits else max(filter(None, waits), default=None)


def _was_under_way(entry: Entry, begun_ns: list[int]) -> bool:
    """Tell whether a request was sent before a refusal began, or as it began, and had no answer in time."""
    late = entry.code == Code.DEADLINE_EXCEEDED
    return late and any(
        entry.sent_ns < at + int(1e9 * REFUSED_WITHIN_SECONDS) and entry.done_ns > at for at in begun_ns
    )


def _refusals(system: Site) -> Mapping[str, Callable[[], AbstractContextManager[None]]]:
    url = system.brokers.urls.redis
    refusals: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "full store": partial(full_redis, url),
        "read-only store": partial(read_only_redis, url),
    }
    server = system.brokers.by_kind["rabbitmq"].server if system.middleware.broker == "rabbitmq" else None
    if server:
        refusals["full queue"] = partial(full_queue, server, f"{system.namespace}.filter", 0)
        refusals["blocked"] = partial(out_of_memory, server)
    return refusals


FULL = Scenario(
    "full",
    "a queue or store is full or blocked: refused at once, all that was accepted is done later",
    full,
    20.0,
    60.0,
)


def twice(rig: Rig, middleware: str) -> FaultTrial:
    """Start each process of n nodes, and the one node, once more: it must be refused, or serve as one."""
    refused: list[str] = []
    served: list[Handle] = []
    broken: list[str] = []
    with ExitStack() as stack:
        sites = [
            stack.enter_context(site(middleware, application, rig.brokers)) for application in Application
        ]
        alone = stack.enter_context(
            site(middleware, Application.SERVICE, rig.brokers, architecture=Architecture.ONE_NODE)
        )
        load = Load(systems(sites), Stream(rig.seed, BOTH), Plan.constant(RATE, 60.0), CLIENTS)
        injector = Injector(load, sites, rig.seed)
        with load:
            for system, spec in [*_first_of_each([*sites, alone]), *_controllers(alone)]:
                handle = system.launcher.spawn(spec)
                what = f"{system.spec.architecture} {system.spec.application} {spec.name}"
                injector.faults.append(Fault("started twice", what, round(load.seconds(), 3)))
                try:
                    system.launcher.wait_ready(handle)
                    served.append(handle)
                except DidNotStart as error:
                    is_right = error.exit_code == 2 and len(error.message.splitlines()) == 1
                    (refused if is_right else broken).append(f"{what}: {error.message}")
            with alone.service() as client:
                stored = [client.add_insult(f"tonto {number}") for number in range(10)]
                kept = len(client.get_insults()) if all(stored) else 0
            injector.wait(load.seconds() + 1.0)
            load.stop()
        ended = settled(load, injector, sites)
    checks = [
        Check("neither refused nor served", len(broken), 0),
        Check("insults kept by the one node", kept, 10.0, is_least=True),
    ]
    figures = {"refused": float(len(refused)), "serving as one": float(len(served))}
    return trial("twice", middleware, rig, ended, checks, figures=figures, notes=broken)


def _first_of_each(sites: list[Site]) -> Iterator[tuple[Site, ProcessSpec]]:
    for system in sites:
        for handles in system.handles.values():
            yield system, handles[0].spec


def _controllers(system: Site) -> Iterator[tuple[Site, ProcessSpec]]:
    """Start the controller of a dynamic system, which there is over RabbitMQ alone."""
    if system.spec.middleware == "rabbitmq":
        arguments = ("--namespace", system.namespace, "--policy", "static:workers=1", "--json")
        spec = ProcessSpec("controller", "dynamic", arguments, system.brokers.urls.environment())
        system.launcher.start(spec)
        yield system, spec


TWICE = Scenario(
    "twice",
    "a process is started twice: the second one says so and ends, or both serve as one",
    twice,
    14.0,
    15.0,
    ALL,
)

HOUR_SECONDS = 3600
CLOCK_WORK = ("--work-time", "20ms")


def clock(rig: Rig, middleware: str) -> FaultTrial:
    """Kill a node and set the wall clock of the store an hour back, and then forward.

    Nodes take the times of leases from the store, or from a monotonic clock. Theirs is not set: a sleep of
    Python fails under libfaketime.
    """
    lasting = rig.of(4.0, 6.0, 20.0)
    with tempfile.TemporaryDirectory(prefix="lab-clock-") as folder:
        wall_clock = WallClock(Path(folder))
        with (
            redis_under(wall_clock) as redis,
            site(
                middleware,
                Application.FILTER,
                Brokers({**rig.brokers.by_kind, "redis": redis}),
                node_arguments=CLOCK_WORK,
            ) as system,
        ):
            plan = Plan.constant(RATE, FIRST_AT_SECONDS + 2 * lasting)
            load = Load(systems([system]), Stream(rig.seed, TEXTS), plan, CLIENTS)
            injector = Injector(load, [system], rig.seed)
            with load:
                injector.wait(FIRST_AT_SECONDS)
                for seconds in (-HOUR_SECONDS, 0):
                    injector.kill_node()
                    wall_clock.set(seconds)
                    injector.wait(load.seconds() + lasting)
            ended = settled(load, injector, [system])
            letters = dead_letters(system)
    at = [load.start_ns + int(fault.at_seconds * 1e9) for fault in injector.faults]
    # The store wrote down when texts were done, on a clock that jumped: that tells nothing.
    ended = replace(ended, found=[one._replace(finished_ns=0) for one in ended.found])
    checks = [
        Check("dead letters", len(letters), 0),
        Check("served again", _served_again(at, ended.entries), SERVED_AGAIN_SECONDS, "s"),
        Check("answered", ended.answered_percent, LEAST_ANSWERED_PERCENT, "%", is_least=True),
    ]
    return trial("clock", middleware, rig, ended, checks)


CLOCK = Scenario(
    "clock",
    "the store's clock jumps by an hour, and a node dies: its work is taken over as usual",
    clock,
    18.0,
    50.0,
    missing=WallClock.missing,
)
