"""What a request costs as there is more of everything (`lab growth`): what grows, how far, and how."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from itertools import islice

from harness.experiment.bench import Bench
from harness.experiment.contestants import (
    ContestantFailed,
    Loaded,
    Stepping,
    add_and_remove,
    alternate,
    insult_me,
    loaded,
)
from harness.experiment.session import Step
from harness.experiment.speedup import CLIENTS as SHARED_CLIENTS
from harness.experiment.speedup import LATENCY_BOUND, speedup
from harness.experiment.subscribers import Configuration, subscribers
from harness.load.measure import Generators
from harness.probes.resources import Pids, component_pids, resident
from harness.record.findings import NO_MIDDLEWARE, Curve, Size
from harness.record.run import Point
from harness.report.formatting import not_here
from lab.bootstrap import ROOT
from lab.contract import Application, Architecture, Target
from lab.errors import InternalError
from lab.middleware import MIDDLEWARES
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.store import open_store
from xmlrpc.client import ServerProxy

FEW_NODES, MANY_NODES_CLIENTS = 8, 64
"""Beyond so many nodes there are more clients: four per node, and a multiple of all numbers of nodes."""
CLIENTS, IN_FLIGHT = 4, 50
QUICK_SECONDS = 8.0
"""Of one middleware in the quick form: a size that would take longer, at the rate so far, is left out."""
CHUNK_SECONDS = 20.0
"""About how long a window of requests may take: more requests are made in several."""
PROGRAM_SECONDS = 900.0
MIB_PER_MB = 1e6 / 2**20

Study = Callable[[str, Configuration], Iterator[Curve]]
"""Measures one middleware."""


def turning(sizes: Sequence[int], windows: int) -> Iterator[int]:
    """Yield each of *sizes* once per window, in turning order, so that a drift favours none."""
    for number in range(windows):
        yield from list(sizes)[:: -1 if number % 2 else 1]


def clients(middleware: str, config: Configuration) -> Iterator[Curve]:
    """Measure closed loops of more and more clients of one node, all connected at the same time."""
    points: dict[int, list[Point]] = {count: [] for count in config.sizes}
    with ExitStack() as stack:
        system = stack.enter_context(config.bench.system(middleware, Architecture.ONE_NODE))
        loads = {count: config.bench.load(system, count) for count in config.sizes}
        for load in loads.values():
            stack.callback(load.close)
        for load in loads.values():
            load.wait_ready()
        for count in turning(config.sizes, config.windows):
            points[count].append(_window(config, system, loads[count]))
        harness = {count: _harness(load) for count, load in loads.items()}
    yield Curve(
        "clients",
        middleware,
        "filter, one request in flight each",
        sizes=[_size(count, points[count], harness[count]) for count in config.sizes],
    )


def nodes(middleware: str, config: Configuration) -> Iterator[Curve]:
    """Measure more and more nodes that wait 5 ms per text, all numbers of them up at the same time."""
    points: dict[int, list[Point]] = {count: [] for count in config.sizes}
    usual = max(config.sizes) <= FEW_NODES
    for point in speedup(
        config.bench,
        [middleware],
        config.sizes,
        LATENCY_BOUND,
        blocks=config.windows,
        window_seconds=config.seconds,
        clients=SHARED_CLIENTS if usual else MANY_NODES_CLIENTS,
    ):
        points[point.nodes].append(point)
    yield Curve(
        "nodes",
        middleware,
        "filter, 5 ms waiting per text",
        sizes=[_size(count, points[count], {}) for count in config.sizes],
    )


def requests(middleware: str, config: Configuration) -> Iterator[Curve]:
    """Make more and more requests of one system that stays up: the sizes count from its start."""
    sizes: list[Size] = []
    missing, done, begun = "", 0, time.monotonic()
    with ExitStack() as stack:
        system = stack.enter_context(config.bench.system(middleware, Architecture.ONE_NODE))
        load = stack.enter_context(config.bench.load(system, CLIENTS, IN_FLIGHT))
        for count in config.sizes:
            rate = sizes[-1].median if sizes else 0.0
            seconds = (count - done) / rate if rate else 0.0
            if not config.is_full and time.monotonic() - begun + seconds > QUICK_SECONDS:
                missing = (
                    f"{count:,} requests take over {QUICK_SECONDS:.0f} s at {rate:,.0f}/s: --full makes them"
                )
                break
            points = []
            while done < count:
                each = _each(count - done, rate)
                make = partial(Generators.requests, each=each)
                points.append(config.bench.point("requests", system, load, make))
                done += CLIENTS * each
                rate = points[-1].throughput
            sizes.append(_size(count, points, _harness(load)))
    what = f"filter, {IN_FLIGHT} in flight per client"
    yield Curve("requests", middleware, what, sizes=sizes, missing=missing)


def harness_alone(sizes: Sequence[int]) -> Iterator[Curve]:
    """Measure the memory of the harness over more and more requests against nothing."""
    found = [(count, _against_nothing(count)) for count in sizes]
    measured = [
        Size(count, [said["done"] / said["seconds"]], {"harness": said["after"] * MIB_PER_MB})
        for count, said in found
    ]
    yield Curve("requests", NO_MIDDLEWARE, "against nothing", sizes=measured)


def _window(config: Configuration, system: System, load: Generators) -> Point:
    return config.bench.point("growth", system, load, partial(Generators.closed, seconds=config.seconds))


def _size(count: int, points: Sequence[Point], harness: dict[str, float]) -> Size:
    """Gather the windows of a size; the memory is the highest of them."""
    for point in points:
        if not point.throughput:
            raise InternalError("growth", f"{count:,}: {'; '.join(point.objections)}")
    memory = dict(harness)
    for point in points:
        for name, mib in point.usage.rss_mib.items():
            memory[name] = max(mib, memory.get(name, 0.0))
    said = dict.fromkeys(objection for point in points for objection in point.objections)
    return Size(count, [point.throughput for point in points], memory, list(said))


def _each(left: int, rate: float) -> int:
    """Return how many of the *left* requests each client makes in the next window."""
    chunk = min(left, int(rate * CHUNK_SECONDS)) if rate else left
    return max(1, -(-chunk // CLIENTS))


def _harness(load: Generators) -> dict[str, float]:
    return resident({"harness": load.pids})


def _against_nothing(count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "harness.probes.resources", str(count)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PROGRAM_SECONDS
    )
    if done.returncode:
        raise InternalError("growth", f"{' '.join(command[1:])}: {done.stderr.strip()[-200:]}")
    said: dict[str, float] = json.loads(done.stdout)
    return said


FLAT = 0.95
"""The share of its rate that a service keeps when it stores more insults."""
CALLS = 1000
"""In one multicall, or in one call of the store."""
INSULT_CLIENTS = 2
"""Of each size; those of all sizes are connected at the same time."""
IN_MEMORY = "xmlrpc"
"""The middleware with which the store in memory is measured: it is the same code in all four."""
OPERATIONS = {
    "insult_me": insult_me,
    "add_insult and remove_insult": add_and_remove,
}


def insults(middleware: str, config: Configuration) -> Iterator[Curve]:
    """Measure one node with its insults in Redis, and, with one middleware, in its memory."""
    yield from _kept(middleware, Architecture.N_NODE, "in Redis", config)
    if middleware == IN_MEMORY:
        yield from _kept(middleware, Architecture.ONE_NODE, "in memory", config)


def _kept(middleware: str, architecture: Architecture, where: str, config: Configuration) -> Iterator[Curve]:
    with ExitStack() as stack:
        targets: dict[int, Target] = {}
        pids: dict[int, Pids] = {}
        for count in config.sizes:
            system = _stored(stack, middleware, architecture, count, config.urls)
            targets[count] = system.target
            pids[count] = component_pids(system, config.urls)
        for operation, step in OPERATIONS.items():
            with ExitStack() as clients_stack:
                loads = {
                    count: loaded(clients_stack, Stepping(middleware, target, step), INSULT_CLIENTS)
                    for count, target in targets.items()
                }
                yield _curve(operation, where, middleware, loads, pids, config)


def _stored(
    stack: ExitStack, middleware: str, architecture: Architecture, count: int, urls: BrokerUrls
) -> System:
    """Start a service of one node and store *count* insults; in memory over XML-RPC only."""
    spec = SystemSpec(middleware, Application.SERVICE, architecture)
    system = stack.enter_context(System(spec, urls))
    names = (f"insult number {number}" for number in range(count))
    if architecture is Architecture.N_NODE:
        with closing(open_store(urls.redis, system.namespace)) as store:
            while batch := list(islice(names, CALLS)):
                store.add_insults(batch)
        return system
    with ServerProxy(system.target.address) as proxy:
        while batch := list(islice(names, CALLS)):
            calls = [{"methodName": "add_insult", "params": [name]} for name in batch]
            proxy.system.multicall(calls)
    return system


def _curve(
    what: str,
    place: str,
    middleware: str,
    loads: dict[int, Loaded],
    pids: dict[int, Pids],
    config: Configuration,
) -> Curve:
    named = {str(count): load for count, load in loads.items()}
    rates = alternate(named, config.windows, config.seconds)
    sizes = [
        Size(count, rates[str(count)], resident({**pids[count], "harness": load.pids}))
        for count, load in loads.items()
    ]
    return Curve("insults", middleware, what, place, sizes=sizes, bar=FLAT)


@dataclass(frozen=True, slots=True)
class Growth:
    """*seconds* is about what one size takes beside its windows, in the quick form and in the full one."""

    measure: Study
    quick: Sequence[int]
    full: Sequence[int]
    seconds: tuple[float, float]
    architectures: Sequence[Architecture]
    """Whose brokers it needs."""
    windows_each: int = 1
    """Windows of a size in each turn."""

    def sizes(self, *, is_full: bool) -> Sequence[int]:
        """Return the sizes of a form."""
        return self.full if is_full else self.quick

    def needs(self, middleware: str) -> frozenset[str]:
        """Return the brokers that it takes to measure *middleware*."""
        found = (MIDDLEWARES[middleware].needed_brokers(one) for one in self.architectures)
        return frozenset().union(*found)

    def expected(self, windows: int, seconds: float, *, is_full: bool) -> float:
        """Return about how long one middleware takes."""
        return len(self.sizes(is_full=is_full)) * (
            self.seconds[is_full] + self.windows_each * windows * seconds
        )


ALONE, MANY = (Architecture.ONE_NODE,), (Architecture.N_NODE,)
STUDIES = {
    "insults": Growth(
        insults,
        quick=(10, 1_000, 100_000),
        full=(10, 100, 1_000, 10_000, 100_000, 1_000_000),
        seconds=(2.0, 12.0),
        architectures=MANY,
        windows_each=2,
    ),
    "subscribers": Growth(
        subscribers,
        quick=(1, 10, 100),
        full=(1, 3, 10, 30, 100, 300, 1_000),
        seconds=(2.0, 20.0),
        architectures=ALONE,
    ),
    "clients": Growth(
        clients,
        quick=(1, 8, 64),
        full=(1, 2, 4, 8, 16, 32, 64, 128, 256),
        seconds=(1.0, 1.5),
        architectures=ALONE,
    ),
    "nodes": Growth(nodes, quick=(1, 2, 4), full=(1, 2, 4, 8, 16), seconds=(1.5, 3.0), architectures=MANY),
    "requests": Growth(
        requests,
        quick=(1_000, 10_000, 100_000),
        full=(1_000, 10_000, 100_000, 1_000_000, 10_000_000),
        seconds=(3.0, 250.0),
        architectures=ALONE,
        windows_each=0,
    ),
}
HARNESS_QUICK, HARNESS_FULL = (10_000, 100_000, 1_000_000), (10_000, 100_000, 1_000_000, 10_000_000)
"""Requests against nothing."""
HARNESS_SECONDS = (10.0, 60.0)


def growth_step(study: str, middleware: str, windows: int, seconds: float, *, is_full: bool) -> Step:
    """Return the step that measures one middleware in one study."""
    growth = STUDIES[study]
    label = MIDDLEWARES[middleware].label

    def measure(bench: Bench) -> Iterator[Curve]:
        missing = growth.needs(middleware) - bench.brokers.kinds
        if missing:
            yield Curve(study, middleware, "not measured", missing=not_here(missing))
            return
        config = Configuration(bench, growth.sizes(is_full=is_full), windows, seconds, is_full)
        yield from _measured(growth.measure(middleware, config))

    return Step(f"{study}: {label}", growth.expected(windows, seconds, is_full=is_full), frozenset(), measure)


def harness_step(*, is_full: bool) -> Step:
    """Return the step that measures the harness alone, over more and more requests."""
    counts = HARNESS_FULL if is_full else HARNESS_QUICK
    return Step(
        "requests: the harness alone",
        HARNESS_SECONDS[is_full],
        frozenset(),
        lambda bench: _measured(harness_alone(counts)),
    )


def _measured(curves: Iterator[Curve]) -> Iterator[Curve]:
    """Yield *curves*; what goes wrong meanwhile ends the step, not the run."""
    try:
        yield from curves
    except (ContestantFailed, OSError) as error:
        raise InternalError("growth", f"{type(error).__name__}: {error}") from error
