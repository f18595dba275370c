"""The bars of growth: more nodes, and more insults."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice

from harness.experiment.bench import Bench
from harness.experiment.speedup import LATENCY_BOUND, speedup
from harness.experiment.thresholds import clients
from harness.experiment.thresholds.load import SideFailed
from harness.experiment.thresholds.sides import Rates, Side, Terms, alternate, loaded
from harness.load.workload import Workload
from harness.record.findings import Finding, ratios
from harness.report.formatting import not_here
from lab.contract import Application, Architecture
from lab.middleware import MIDDLEWARES
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.store import open_store
from xmlrpc.client import ServerProxy

SPEEDUP_BARS = {3: 2.9, 8: 7.5}
FEW, MANY = 10, 1_000_000
FLAT = 0.9
CALLS = 1000
"""In one multicall."""


def speedups(terms: Terms) -> Iterator[Finding]:
    """Compare 3 and 8 nodes with one, latency-bound, over every middleware that has its broker here."""
    bench = Bench(terms.brokers, Workload())
    for middleware, described in MIDDLEWARES.items():
        missing = described.needed_brokers(Architecture.N_NODE) - terms.brokers.kinds
        if missing:
            what = f"{described.label}, speedup"
            yield Finding("speedup", what, missing=not_here(missing))
        else:
            yield from _speedups(bench, middleware, terms)


def _speedups(bench: Bench, middleware: str, terms: Terms) -> Iterator[Finding]:
    counts = (1, *SPEEDUP_BARS)
    rates: Rates = {f"{count} node(s)": [] for count in counts}
    points = speedup(
        bench, middleware, counts, LATENCY_BOUND, blocks=terms.pairs, window_seconds=terms.seconds
    )
    for point in points:
        if not point.throughput:
            raise SideFailed(f"{middleware}, {point.nodes} node(s): {'; '.join(point.objections)}")
        rates[f"{point.nodes} node(s)"].append(point.throughput)
    one = rates["1 node(s)"]
    for count, bar in SPEEDUP_BARS.items():
        many = f"{count} node(s)"
        what = f"{MIDDLEWARES[middleware].label}, speedup at {count} nodes, 5 ms waiting per text"
        values = ratios(rates[many], one)
        yield Finding("speedup", what, values, bar, rates={many: rates[many], "1 node(s)": one}, ours=many)


def insults(terms: Terms) -> Iterator[Finding]:
    """Compare a service with many stored insults with one that has ten: in memory, and in Redis."""
    kinds: Sequence[tuple[Architecture, str]] = (
        (Architecture.ONE_NODE, "in memory"),
        (Architecture.N_NODE, "in Redis"),
    )
    for architecture, where in kinds:
        if architecture is Architecture.N_NODE and not terms.brokers.redis:
            yield Finding("insults", f"1,000,000 insults {where}", missing="no redis here")
            continue
        with ExitStack() as stack:
            targets = {
                count: stored(stack, "xmlrpc", architecture, count, terms.brokers).target
                for count in (FEW, MANY)
            }
            for operation, connect in (
                ("insult_me", partial(clients.insult_me, check=False)),
                ("add_insult, and remove_insult", clients.add_and_remove),
            ):
                sides: dict[str, Side] = {
                    f"{count:,} insults": loaded(stack, partial(connect, "xmlrpc", target))
                    for count, target in targets.items()
                }
                rates = alternate(sides, terms.pairs, terms.seconds)
                few, many = rates.values()
                what = f"{operation} with {MANY:,} insults {where} against {FEW}, XML-RPC"
                yield Finding("insults", what, ratios(many, few), FLAT, rates=rates, ours=f"{MANY:,} insults")


def stored(
    stack: ExitStack, middleware: str, architecture: Architecture, count: int, urls: BrokerUrls
) -> System:
    """Start a service of one node and store *count* insults; in memory over XML-RPC only."""
    spec = SystemSpec(middleware, Application.SERVICE, architecture)
    system = stack.enter_context(System(spec, urls))
    names = (f"insult number {number}" for number in range(count))
    if architecture is Architecture.N_NODE:
        store = open_store(urls.redis, system.namespace)
        while batch := list(islice(names, CALLS)):
            store.add_insults(batch)
        store.close()
        return system
    with ServerProxy(system.target.address) as proxy:
        while batch := list(islice(names, CALLS)):
            calls = [{"methodName": "add_insult", "params": [name]} for name in batch]
            proxy.system.multicall(calls)
    return system
