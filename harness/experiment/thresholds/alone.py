"""The thresholds of one contestant: censoring, memory, starts, more nodes, more insults."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from pathlib import Path

from dynamic.events import EventNames
from dynamic.pool.client import PoolClient
from dynamic.pool.status import PoolStatus
from dynamic.queues import EventQueues
from dynamic.sender import Completions, EventSender
from harness.experiment.bench import Bench
from harness.experiment.speedup import LATENCY_BOUND, speedup
from harness.experiment.thresholds import clients
from harness.experiment.thresholds.contestants import (
    Contestant,
    ContestantFailed,
    Rates,
    Terms,
    alternate,
    loaded,
)
from harness.load.workload import Workload
from harness.record.findings import Finding, ratios
from harness.report.formatting import not_here
from lab.applications.censor import Censor
from lab.bootstrap import ROOT
from lab.contract import Application, Architecture
from lab.data import default_insults
from lab.load.texts import corpus_texts, generated_texts
from lab.middleware import MIDDLEWARES
from lab.process.launcher import LocalLauncher, ProcessSpec
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.settings import settings
from lab.store import open_store
from lab.store.namespace import delete_namespace, throwaway_namespace
from xmlrpc.client import ServerProxy

LINES = 40_000
CENSOR_BAR = 20.0
MEMORY_BAR = 300.0
GROWTH_MEGABYTES = 10.0
HELP_BAR = 300.0
PROGRAM_SECONDS = 600.0


def censoring(terms: Terms) -> Iterator[Finding]:
    """Censor lines of text with 10 and with 100,000 insults, in turn."""
    source = corpus_texts(terms.corpus) if terms.corpus else generated_texts(1)
    lines = list(islice(source, LINES))
    few = list(default_insults()[:10])
    sides: dict[str, Contestant] = {}
    for count in (10, 100_000):
        many = (f"zz{number:x} of them" if number % 2 else f"zz{number:x}" for number in range(count - 10))
        sides[f"{count:,} insults"] = _Censoring(Censor([*few, *many]), lines)
    rates = alternate(sides, terms.pairs, terms.seconds)
    where = terms.corpus.name if terms.corpus else "generated texts"
    for name, values in rates.items():
        what = f"censoring lines of {where}, {name}"
        yield Finding("censor", what, values, CENSOR_BAR, "MB/s", rates={name: values})


class _Censoring:
    def __init__(self, censor: Censor, lines: list[str]) -> None:
        self._censor = censor
        self._lines = lines
        self._bytes = sum(len(line.encode()) for line in lines)

    def window(self, seconds: float) -> float:
        """Return megabytes (10^6 bytes of UTF-8) per second of one core."""
        begun, done = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - begun) < seconds or not done:
            for line in self._lines:
                self._censor.censor(line)
            done += self._bytes
        return done / 1e6 / elapsed


def memory(terms: Terms) -> Iterator[Finding]:
    """Measure the memory of the harness after millions of requests against nothing."""
    millions = 10 if terms.is_full else 1
    command = [sys.executable, "-m", "harness.probes.memory", str(millions * 1_000_000)]
    used, grown = [], []
    for _ in range(3):
        found = json.loads(_output(command))
        if found["done"] != millions * 1_000_000:
            raise ContestantFailed(f"{found['done']:,} requests were done")
        used.append(found["after"])
        grown.append(found["settled"] - found["before"])
    notes = [f"all processes; without what is free but kept, grown by {max(grown):.1f} MB at most"]
    objections = [] if max(grown) < GROWTH_MEGABYTES else [f"memory grew by {max(grown):.1f} MB"]
    if not terms.is_full:
        notes.append("one million: --full measures ten")
    what = f"harness, memory after {millions} million requests"
    yield Finding("memory", what, used, MEMORY_BAR, "MB", at_least=False, notes=notes, objections=objections)


def starting(terms: Terms) -> Iterator[Finding]:
    """Time the start of a node, of a system of three, and of the command's help."""
    help_command = [sys.executable, "-m", "lab", "--help"]
    times = [_milliseconds(lambda: _output(help_command)) for _ in range(max(5, terms.pairs))]
    yield Finding("start", "`lab --help`", times, HELP_BAR, "ms", at_least=False)
    for middleware, described in MIDDLEWARES.items():
        for architecture, nodes in ((Architecture.ONE_NODE, 1), (Architecture.N_NODE, 3)):
            whole = "one node" if nodes == 1 else f"whole system of {nodes} nodes"
            what = f"{described.label}, filter, {whole}, until it is ready"
            missing = described.needed_brokers(architecture) - terms.brokers.kinds
            if missing:
                yield Finding("start", what, missing=not_here(missing))
                continue
            spec = SystemSpec(middleware, Application.FILTER, architecture, nodes)
            times = [_start_milliseconds(spec, terms) for _ in range(3)]
            yield Finding("start", what, times, None, "ms", at_least=False)


def _start_milliseconds(spec: SystemSpec, terms: Terms) -> float:
    with ExitStack() as stack:
        return _milliseconds(lambda: stack.enter_context(System(spec, terms.brokers)))


def _milliseconds(do: Callable[[], object]) -> float:
    begun = time.perf_counter()
    do()
    return 1000 * (time.perf_counter() - begun)


def _output(command: list[str]) -> str:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PROGRAM_SECONDS
    )
    if done.returncode:
        raise ContestantFailed(f"{' '.join(command[1:])}: {done.stderr.strip()[-200:]}")
    return done.stdout


def spread(values: list[float]) -> str:
    """Return median and range in milliseconds."""
    return f"median {statistics.median(values):.1f} ms, {min(values):.1f} to {max(values):.1f}"


BAR_MILLISECONDS = 50.0
BATCH = 20
EVENTS_EACH = 20
"""Of a batch: enough that nobody who starts late finds the queue empty."""
WAIT_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 0.02


def worker_start(terms: Terms) -> Iterator[Finding]:
    """Time one worker, forked and spare, and a batch of 20 that are forked."""
    rounds = max(7, terms.pairs)
    with _Pool(terms, spares=0) as pool:
        forked = [pool.first_messages(1)[0] for _ in range(rounds)]
        batches = [pool.first_messages(BATCH) for _ in range(3)]
    with _Pool(terms, spares=1) as pool:
        spare = [pool.first_messages(1)[0] for _ in range(rounds)]
    what = "one worker, forked by the ready pool, order to first message"
    yield Finding("worker", what, forked, BAR_MILLISECONDS, "ms", at_least=False)
    yield Finding(
        "worker",
        "one worker that waits as a spare, order to first message",
        spare,
        None,
        "ms",
        at_least=False,
    )
    notes = [f"all workers of a batch: {spread([each for batch in batches for each in batch])}"]
    slowest = [max(batch) for batch in batches]
    what = f"a batch of {BATCH} wished for at once, order to the last one's first message"
    yield Finding("worker", what, slowest, None, "ms", at_least=False, notes=notes)


class _Pool:
    """A pool in a namespace of its own, and events for its workers."""

    def __init__(self, terms: Terms, spares: int) -> None:
        self._urls = terms.brokers
        self._spares = spares
        self._stack = ExitStack()
        self._sent = self._done = 0

    def __enter__(self) -> "_Pool":
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        namespace, urls = throwaway_namespace(), self._urls
        self._names = EventNames(namespace)
        stack.callback(delete_namespace, urls.redis, namespace)
        with closing(open_store(urls.redis, namespace)) as store:
            store.add_insults(["tonto"])
        queues = stack.enter_context(EventQueues(urls.amqp, self._names, settings().queue_type))
        stack.callback(queues.delete)
        stack.enter_context(Completions(urls.amqp, self._names, self._finished))
        self._sender = stack.enter_context(EventSender(urls.amqp, self._names))
        launcher = stack.enter_context(LocalLauncher())
        options = ("--namespace", namespace, "--max", str(BATCH), "--spares", str(self._spares))
        arguments = (*options, "--work-time", "20ms")
        pool = launcher.start(ProcessSpec("pool", "dynamic.pool", arguments, urls.environment()))
        self._client = PoolClient(Path(pool.address))
        stack.callback(self._client.close)

    def first_messages(self, workers: int) -> list[float]:
        """Start *workers* at once with events waiting; return the milliseconds to the first one of each."""
        self._until(lambda status: status.spare == self._spares)
        for _ in range(1 if workers == 1 else EVENTS_EACH * workers):
            self._sent += 1
            self._sender.send("tonto", str(self._sent), time.monotonic_ns(), self._names.done)
        if not self._sender.settle(WAIT_SECONDS):
            raise ContestantFailed("the broker did not confirm the events")
        self._client.scale(workers)
        status = self._until(lambda status: len(_first_seconds(status)) >= workers)
        self._until(lambda _: self._done >= self._sent)
        self._client.scale(0)
        self._until(lambda status: not status.ready and not status.leaving)
        return [1000 * seconds for seconds in _first_seconds(status)]

    def _until(self, holds: Callable[[PoolStatus], bool]) -> PoolStatus:
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            status = self._client.status()
            if holds(status):
                return status
            time.sleep(LOOK_AGAIN_SECONDS)
        raise ContestantFailed(f"the pool was not where it should be after {WAIT_SECONDS:g} s: {status}")

    def _finished(self, event_id: str, now_ns: int, answer: bytes) -> None:
        self._done += 1


def _first_seconds(status: PoolStatus) -> list[float]:
    return [worker.first_seconds for worker in status.workers if worker.first_seconds is not None]


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
            raise ContestantFailed(f"{middleware}, {point.nodes} node(s): {'; '.join(point.objections)}")
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
                sides: dict[str, Contestant] = {
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
