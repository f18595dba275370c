"""SIGTERM under load: drained within 5 s, lost 0; no orphan process, no key and no queue is left."""

import os
import time
from contextlib import suppress

import pika
import psutil
from pika.exceptions import ChannelClosedByBroker

from harness.faults.injector import Injector
from harness.faults.load import Load, Stream
from harness.faults.rig import Rig, Scenario, settled, systems, trial
from harness.faults.site import Site, site
from harness.record.run import Check, Fault, FaultTrial
from lab.contract import Application
from lab.limits import DRAIN_SECONDS
from lab.load.plans import Plan
from lab.operations import Operation
from lab.store.redis_store import connect

CLIENTS = 6
RATE = 100.0
WORK = ("--work-time", "5ms")
MIX = (Operation.SUBMIT, Operation.FILTER)


def drain(rig: Rig, middleware: str) -> FaultTrial:
    """Stop one node of three under load, then, when the load is over, the whole system."""
    stops, seconds = rig.of((1, 2.0), (1, 3.0), (5, 30.0))
    took: list[float] = []
    codes: list[int] = []
    before = set(psutil.Process().children(recursive=True))
    system = site(middleware, Application.FILTER, rig.brokers, node_arguments=WORK)
    with system:
        load = Load(systems([system]), Stream(rig.seed, MIX), Plan.constant(RATE, seconds), CLIENTS)
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
    "SIGTERM under load: drained within 5 s, lost 0, no orphan process, no key or queue left",
    drain,
    10.0,
    45.0,
)
