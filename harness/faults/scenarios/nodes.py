"""Nodes and masters under load: killed, frozen, drained; and texts that kill their worker."""

import os
import random
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress

import pika
import psutil
from pika.exceptions import ChannelClosedByBroker

from harness.faults.load import HANG_SECONDS, Load, Stream, percentile
from harness.faults.rig import (
    ALL,
    BOTH,
    DIRECT,
    LEAST_ANSWERED_PERCENT,
    TEXTS,
    Injector,
    Rig,
    Scenario,
    delays_at_faults,
    settled,
    systems,
    times,
    trial,
)
from harness.faults.site import Letter, Site, dead_letters, site
from harness.load.generator import now
from harness.record.run import Check, Fault, FaultTrial
from lab.contract import Application
from lab.errors import LabError
from lab.limits import DRAIN_SECONDS
from lab.load.plans import Plan
from lab.operations import Operation
from lab.store.redis_store import connect
from lab.topology import MASTER

KILL_CLIENTS = 8
TAKEN_OVER_SECONDS = 2.0


def kills(rig: Rig, middleware: str) -> FaultTrial:
    """Kill nodes of both applications, 3 nodes each, while texts and insults come."""
    seconds, count, requests = rig.of((2.5, 2, 500), (6.0, 4, 1_200), (60.0, 20, 20_000))
    with ExitStack() as stack:
        sites = [
            stack.enter_context(site(middleware, application, rig.brokers)) for application in Application
        ]
        plan = Plan.constant(requests / seconds, seconds)
        load = Load(systems(sites), Stream(rig.seed, BOTH), plan, KILL_CLIENTS)
        injector = Injector(load, sites, rig.seed)
        with load:
            injector.follow([(at, injector.kill_node) for at in times(injector.chance, count, seconds)])
        ended = settled(load, injector, sites)
    delays = delays_at_faults(ended)
    checks = [
        Check("taken over, p99", percentile(delays, 0.99), TAKEN_OVER_SECONDS, "s"),
        Check("answered", ended.answered_percent, LEAST_ANSWERED_PERCENT, "%", is_least=True),
    ]
    figures = {"kills": float(len(injector.faults))}
    return trial("kills", middleware, rig, ended, checks, figures=figures)


KILLS = Scenario(
    "kills",
    "nodes are killed: nothing is lost, each effect happens once, others take over within 2 s (p99)",
    kills,
    12.0,
    75.0,
    ALL,
)

FROZEN_CLIENTS = 4
FROZEN_RATE = 30.0
FROZEN_WORK = ("--work-time", "50ms")
"""At this rate a node is at work half of the time: the frozen one very likely holds a text."""
MOVES_WITHIN_SECONDS = 15.0
AFTER_THAW_SECONDS = 2.0


def frozen(rig: Rig, middleware: str) -> FaultTrial:
    """Freeze one of three nodes at work; thaw it when its work has moved, or after 30 s at full size."""
    seconds = rig.of(2.0, 3.0, 32.0)
    with site(middleware, Application.FILTER, rig.brokers, node_arguments=FROZEN_WORK) as system:
        load = Load(
            {Application.FILTER: system},
            Stream(rig.seed, TEXTS),
            Plan.constant(FROZEN_RATE, seconds),
            FROZEN_CLIENTS,
        )
        injector = Injector(load, [system], rig.seed)
        with load:
            injector.wait(1.0)
            node = injector.chance.choice(system.live)
            place = injector.freeze(system, node)
            try:
                injector.wait(float("inf"))
                left = MOVES_WITHIN_SECONDS - (load.seconds() - injector.faults[place].at_seconds)
                moved = settled(load, injector, [system], max(left, 0.0))
            finally:
                injector.thaw(node, place)
        time.sleep(AFTER_THAW_SECONDS)  # the zombie's time to do harm; nothing tells when it has tried
        ended = settled(load, injector, [system])
        # Counted where a shared store hands out leases; elsewhere a late result has nowhere to go.
        figures = {"late results refused": float(system.fenced())} if system.middleware.is_direct else {}
    fault = injector.judged(moved.entries, moved.found)[place]
    checks = [
        Check("not moved while it was frozen", len(moved.account.lost), 0),
        Check("work moved", fault.recovery_seconds, MOVES_WITHIN_SECONDS, "s"),
    ]
    return trial("frozen", middleware, rig, ended, checks, figures=figures)


FROZEN = Scenario(
    "frozen",
    "a node is frozen: another one does its work within 15 s, its late results are refused",
    frozen,
    15.0,
    50.0,
)

MASTER_CLIENTS = 4
MASTER_RATE = 100.0
BACK_WITHIN_SECONDS = 1.0
GIVE_UP_SECONDS = 20.0
NEW_CLIENT_DEADLINE_SECONDS = 2.0


def masters(rig: Rig, middleware: str) -> FaultTrial:
    """Kill the master, look what new clients are told meanwhile, and when they are served again."""
    kills, seconds = rig.of((1, 3.0), (1, 5.0), (10, 60.0))
    back: list[float | None] = []
    waits: list[float] = []
    with site(middleware, Application.FILTER, rig.brokers) as system:
        load = Load(
            {Application.FILTER: system},
            Stream(rig.seed, TEXTS),
            Plan.constant(MASTER_RATE, seconds),
            MASTER_CLIENTS,
        )
        injector = Injector(load, [system], rig.seed)

        def strike() -> None:
            injector.kill_and_wait(system, MASTER)
            back.append(_served_again(system, waits))

        with load:
            injector.follow([(1.0 + place * (seconds - 2) / kills, strike) for place in range(kills)])
        ended = settled(load, injector, [system])
    worst = None if None in back else max(filter(None, back), default=None)
    checks = [
        Check("a new client is served after the restart", worst, BACK_WITHIN_SECONDS, "s"),
        Check("slowest new client", max(waits), NEW_CLIENT_DEADLINE_SECONDS + HANG_SECONDS, "s"),
        Check("answered", ended.answered_percent, 99.0, "%", is_least=True),
    ]
    return trial("masters", middleware, rig, ended, checks, figures={"kills": float(len(back))})


def _served_again(system: Site, waits: list[float]) -> float | None:
    """Return after how many seconds a new client is served; add to *waits* how long each one waited."""
    start = now()
    while now() - start < GIVE_UP_SECONDS * 1e9:
        asked = now()
        try:
            with system.filter(NEW_CLIENT_DEADLINE_SECONDS) as client:
                client.filter("new client")
        except LabError:
            waits.append((now() - asked) / 1e9)
            time.sleep(0.02)
        else:
            waits.append((now() - asked) / 1e9)
            return (now() - start) / 1e9
    return None


MASTERS = Scenario(
    "masters",
    "the master is killed: clients are served within 1 s of its restart, and none hangs",
    masters,
    10.0,
    70.0,
    DIRECT,
)

DRAIN_CLIENTS = 6
RATE = 100.0
DRAIN_WORK = ("--work-time", "5ms")
MIX = (Operation.SUBMIT, Operation.FILTER)


def drain(rig: Rig, middleware: str) -> FaultTrial:
    """Stop one node of three under load, then, when the load is over, the whole system."""
    stops, seconds = rig.of((1, 2.0), (1, 3.0), (5, 30.0))
    took: list[float] = []
    codes: list[int] = []
    before = set(psutil.Process().children(recursive=True))
    system = site(middleware, Application.FILTER, rig.brokers, node_arguments=DRAIN_WORK)
    with system:
        load = Load(systems([system]), Stream(rig.seed, MIX), Plan.constant(RATE, seconds), DRAIN_CLIENTS)
        injector = Injector(load, [system], rig.seed)

        def stop() -> None:
            node = injector.chance.choice(system.live)
            system.handles["node"] = [handle for handle in system.nodes if handle is not node]
            fault = Fault("SIGTERM", "filter node", round(load.seconds(), 3))
            codes.append(system.launcher.stop(node, 3 * DRAIN_SECONDS))
            took.append(load.seconds() - fault.at_seconds)
            injector.faults.append(fault)
            system.add_node()

        with load:
            injector.follow([(1.0 + place * (seconds - 2) / stops, stop) for place in range(stops)])
        ended = settled(load, injector, [system])
        begun = time.monotonic()
        (system.supervisor or system.launcher).close()
        all_took = time.monotonic() - begun
        orphans = {one for one in psutil.Process().children(recursive=True) if _runs(one)} - before
    keys, queues = _keys(system), _queues(system)
    checks = [
        Check("one node drained", max(took, default=None), DRAIN_SECONDS, "s"),
        Check("the whole system drained", all_took, DRAIN_SECONDS + 0.5, "s"),
        Check("had to be killed, or failed", sum(code != 0 for code in codes), 0),
        Check("orphan processes", len(orphans), 0),
        Check("keys left", len(keys), 0),
        Check("queues left", len(queues), 0),
        Check("answered", ended.answered_percent, 100.0, "%", is_least=True),
    ]
    notes = [*(f"key {key}" for key in keys[:3]), *(f"queue {queue}" for queue in queues[:3])]
    return trial("drain", middleware, rig, ended, checks, figures={"stops": float(stops)}, notes=notes)


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid())
    return False


def _keys(system: Site) -> list[str]:
    """Return what is left in Redis once the system has deleted its throw-away namespace."""
    with connect(system.brokers.urls.redis) as redis:
        return list(redis.scan_iter(match=f"*{system.namespace}*", count=1000))


def _queues(system: Site) -> list[str]:
    """Return which of its queues are left at RabbitMQ."""
    if "rabbitmq" not in system.spec.needed_brokers:
        return []
    from rabbitmq.tuned.wire import Names

    connection = pika.BlockingConnection(pika.URLParameters(system.brokers.urls.amqp))
    left = []
    for queue in Names(system.namespace).queues:
        channel = connection.channel()
        with suppress(ChannelClosedByBroker):
            channel.queue_declare(queue, passive=True)
            left.append(queue)
    connection.close()
    return left


DRAIN = Scenario(
    "drain",
    "nodes are told to stop: they finish within 5 s, nothing is lost, no process or queue stays",
    drain,
    10.0,
    45.0,
)

POISON = "arsenic"
"""See lab.work: a node that works on a text with this word ends at once."""
POISON_CLIENTS = 4
RETRY_SECONDS = 60.0
"""A text has to kill several workers before it is known by its deeds; each of them is started again."""


def poison(rig: Rig, middleware: str) -> FaultTrial:
    """Submit texts, some of them poisoned, and look where each has gone."""
    requests, count, seconds = rig.of((100, 1, 1.0), (300, 2, 3.0), (2_000, 5, 20.0))
    poisoned = random.Random(rig.seed).sample(range(requests), count)
    stream = Stream(rig.seed, (Operation.SUBMIT,), dict.fromkeys(poisoned, f" {POISON}"))
    tokens = frozenset(stream[number].token for number in poisoned)
    begun = time.monotonic()
    with site(middleware, Application.FILTER, rig.brokers, environment={"LAB_POISON": POISON}) as system:
        load = Load(systems([system]), stream, Plan.constant(requests / seconds, seconds), POISON_CLIENTS)
        injector = Injector(load, [system], rig.seed)
        with load:
            injector.wait(float("inf"))
        letters = _dead_letters(system, tokens)
        took = time.monotonic() - begun
        ended = settled(load, injector, [system], leave_out=tokens)
        finished = {one.token for one in system.found(stream)}
        deaths = len(system.restarts())
    dead = {letter.token for letter in letters if letter.reason}
    checks = [
        Check("poisoned and not dead-lettered with a reason", len(tokens - dead), 0),
        Check("others dead-lettered", len({letter.token for letter in letters} - tokens), 0),
        Check("poisoned texts with a result", len(finished & tokens), 0),
    ]
    figures = {"poisoned": float(count), "workers killed": float(deaths), "until all were put aside, s": took}
    notes = sorted({letter.reason for letter in letters})[:3]
    return trial("poison", middleware, rig, ended, checks, figures=figures, notes=notes)


def _dead_letters(system: Site, tokens: frozenset[str]) -> Sequence[Letter]:
    """Wait for the dead letters, for a while."""
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        letters = dead_letters(system)
        if tokens <= {letter.token for letter in letters} or time.monotonic() > deadline:
            return letters
        time.sleep(0.25)


POISONED = Scenario(
    "poison",
    "some texts kill their node: they become dead letters with a reason, all others are done",
    poison,
    20.0,
    60.0,
)
