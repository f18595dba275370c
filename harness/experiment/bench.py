"""What all measurements of a run have in common: brokers, texts, raw times, machines, limits."""

import ipaddress
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack
from urllib.parse import urlsplit

from harness.analysis.verdicts import objections
from harness.load.measure import PROCESSES, Generators, LocalGenerators
from harness.load.workload import STORED, FilterSubject, NullSubject, ServiceSubject, Subject, Workload
from harness.probes.resources import meter, resident
from harness.record.measurement import Measurement
from harness.record.run import Point
from lab.contract import Application, Architecture
from lab.errors import Code, InvalidRequest
from lab.load.texts import default_insults
from lab.process.system import BrokerUrls, System
from lab.settings import settings
from lab.store import open_store
from xmlrpc.client import ServerProxy

if TYPE_CHECKING:  # needs Dask
    from machines.cluster import Machines

NULL_SECONDS = 0.3
N_NODES = 3
"""Nodes of an n-node system where their number is not what is studied."""


class Conditions(TypedDict, total=False):
    """What a point says besides who was measured."""

    work: str
    block: int
    setting: str
    guarantee: str
    batch: int
    is_trial: bool
    factors: dict[str, str]


@dataclass(frozen=True, slots=True)
class Bench:
    """*null_rates* are the requests per second that the load generators make against nothing, by depth."""

    brokers: BrokerUrls
    workload: Workload
    raw: Path | None = None
    null_rates: Mapping[int, float] = field(default_factory=dict)
    machines: "Machines | None" = None
    """Where systems and load generators run; None: here."""

    def subject(self, system: System) -> Subject:
        """Return *system*, which must be up, as load generators see it."""
        if self.workload.application is Application.SERVICE:
            store_insults(system)
            return ServiceSubject(system.spec.middleware, system.target)
        return FilterSubject(system.spec.middleware, system.target, self.workload.pool())

    def generators(
        self, subject: Subject, clients: int, in_flight: int = 1, processes: int = PROCESSES
    ) -> Generators:
        """Return load generators for *subject*, on every machine; they are not yet ready."""
        if self.machines is None:
            return LocalGenerators(subject, clients, processes=processes, in_flight=in_flight, raw=self.raw)
        from harness.load.far import FarGenerators

        return FarGenerators(self.machines, subject, clients, in_flight=in_flight, raw=self.raw)

    def point(
        self,
        experiment: str,
        system: System,
        load: Generators,
        make: Callable[[Generators], Measurement],
        **conditions: Unpack[Conditions],
    ) -> Point:
        """Measure one window of *system*, with what its components spend."""
        with meter(system, system.urls) as spent:
            measured = make(load)
        usage = replace(spent.usage, rss_mib={**spent.usage.rss_mib, **resident({"harness": load.pids})})
        is_batch = bool(conditions.get("batch"))
        return Point(
            experiment,
            system.spec.middleware,
            system.spec.architecture,
            len(system.nodes),
            load.clients,
            1 if is_batch else load.in_flight,
            measured,
            application=system.spec.application,
            usage=usage,
            objections=objections(
                measured,
                processes=load.processes,
                null_rate=self.null_rates.get(load.in_flight, 0.0),
                in_flight=0 if measured.offered else load.clients * load.in_flight,
                usage=usage,
            ),
            generators=list(load.hosts),
            **conditions,
        )


def looks(blocks: int, budget_seconds: float, is_decided: Callable[[], bool]) -> Iterator[int]:
    """Yield the numbers of *blocks*; then, until *is_decided* or the budget ends, of as many again.

    Each look doubles the blocks: many looks would find a verdict by chance sooner or later.
    """
    begun, wanted, number = time.monotonic(), blocks, 0
    deadline = None
    while True:
        while number < wanted:
            number += 1
            yield number
        each_seconds = (time.monotonic() - begun) / wanted
        deadline = deadline or time.monotonic() + budget_seconds
        more = int((deadline - time.monotonic()) / each_seconds)
        if more < 1 or is_decided():
            return
        wanted += min(more, wanted)


def null_rates(bench: Bench, clients: int, depths: tuple[int, ...]) -> dict[int, float]:
    """Measure what the load generators make, all answers checked, against what takes no time."""
    is_filter = bench.workload.application is Application.FILTER
    subject = NullSubject(bench.workload.pool() if is_filter else ())
    with ExitStack() as stack:
        loads = {depth: bench.generators(subject, clients, depth) for depth in depths}
        for load in loads.values():
            stack.callback(load.close)
            load.wait_ready()
        return {depth: load.closed(NULL_SECONDS).throughput or 0.0 for depth, load in loads.items()}


CALLS = 1000
"""In one multicall, or in one call of the store."""


def store_insults(system: System, count: int = 0) -> None:
    """Store *count* insults of a service; 0: those that come with the lab. What is there already stays."""
    names = (f"{STORED}{number}" for number in range(count)) if count else iter(default_insults())
    if count and system.spec.architecture is Architecture.N_NODE:
        with closing(open_store(system.urls.redis, system.namespace)) as store:
            while batch := list(islice(names, CALLS)):
                store.add_insults(batch)
    elif count and system.spec.middleware == "xmlrpc":
        with ServerProxy(system.target.address) as proxy:
            while batch := list(islice(names, CALLS)):
                proxy.system.multicall([{"methodName": "add_insult", "params": [name]} for name in batch])
    else:
        with system.service() as client:
            for name in names:
                client.add_insult(name)


VARIABLES = {"redis": "LAB_REDIS_URL", "rabbitmq": "LAB_AMQP_URL"}


@contextmanager
def several(scheduler: str, kinds: frozenset[str]) -> Iterator["Machines"]:
    """Connect the machines of *scheduler*; InvalidRequest if brokers or workers are at loopback addresses."""
    _check_brokers(kinds)
    from machines.cluster import Machines

    with Machines(scheduler) as machines:
        for machine in machines:
            if _is_loopback(machine.host):
                raise _refused(
                    f"a Dask worker is at {machine.host}, where other machines cannot reach its nodes: start "
                    "it with `python3 -m lab machine URL --host ADDRESS`"
                )
        yield machines


def described(machines: "Machines") -> dict[str, object]:
    """Return what the record says of the *machines*: the nodes' cores are theirs."""
    return {
        "cores": sum(machine.description.cores for machine in machines),
        "machines": [{"host": machine.host, **asdict(machine.description)} for machine in machines],
    }


def _check_brokers(kinds: frozenset[str]) -> None:
    urls = {"redis": settings().redis_url, "rabbitmq": settings().amqp_url}
    for kind in sorted(kinds):
        host = urlsplit(urls[kind]).hostname or ""
        if not host or _is_loopback(host):
            raise _refused(
                f"{VARIABLES[kind]} must name a {kind} at an address that all machines reach, not loopback: "
                "`python3 -m lab up --host ADDRESS` starts one"
            )


def _is_loopback(host: str) -> bool:
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False  # its user gets the error
    return any(ipaddress.ip_address(address).is_loopback for address in found)


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(Code.MALFORMED, f"--cluster: {message}")
