"""The rows of the table of thresholds: what each needs, and how it is measured."""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from harness.experiment.bench import Bench
from harness.experiment.contestants import (
    BARE,
    CLIENTS,
    FILTERED,
    TEXT,
    Contestant,
    ContestantFailed,
    Loaded,
    Rates,
    Terms,
    alternate,
    loaded,
    redis_with,
    settled,
    variables,
)
from harness.experiment.growth import insults as grown_insults
from harness.experiment.session import FAILED, GOOD, UNDECIDED, Step
from harness.experiment.side import Side
from harness.experiment.speedup import LATENCY_BOUND, speedup
from harness.experiment.subscribers import Configuration as GrowthConfiguration
from harness.experiment.thresholds.alone import censoring, memory, worker_start
from harness.experiment.thresholds.limits import BareLists, BarePika
from harness.load.measure import Generators
from harness.load.workload import Subject, Workload
from harness.record.findings import Finding, Judgement, ratios
from harness.record.run import Guarantee, Run
from harness.report.formatting import not_here
from lab.contract import Application, Architecture
from lab.errors import LabError
from lab.middleware import MIDDLEWARES, STOCK, TUNED, VARIANTS
from lab.process.system import BrokerUrls, System, SystemSpec

IN_FLIGHT = 100
"""Per client, where a client can have many."""
MSGPACK = {"PYRO_SERIALIZER": "msgpack", "PYRO_SERIALIZERS_ACCEPTED": "serpent,msgpack"}
STOCK_MSGPACK = "stock with msgpack"
ON_DISK, NOTHING_KEPT = "on disk", "nothing kept"
BARE_LISTS, BARE_PIKA = "bare list commands, on disk", "bare pika"
SPEEDUP_BARS = {3: 2.9, 8: 7.5}
FEW, MANY = 10, 1_000_000


@dataclass(frozen=True, slots=True)
class Ratio:
    """What is asked: so many times the rate of one side, at least, of the other."""

    over: str
    under: str
    bar: float


class Sides:
    """The sides of one comparison. Their systems and clients end with *stack*."""

    def __init__(self, stack: ExitStack, terms: Terms, in_flight: int = 1) -> None:
        self._stack, self._terms, self._in_flight = stack, terms, in_flight
        self._sides: dict[str, Contestant] = {}

    def add(self, name: str, subject: Subject) -> None:
        """Add clients of *subject*."""
        self._sides[name] = loaded(self._stack, subject, in_flight=self._in_flight)

    def add_load(self, name: str, load: Generators) -> None:
        """Add clients that are ready."""
        self._sides[name] = Loaded(load)

    def add_system(self, name: str, middleware: str, application: Application, urls: BrokerUrls) -> None:
        """Add a system of one node and its clients."""
        system = self._stack.enter_context(System(SystemSpec(middleware, application), urls))
        bench = Bench(urls, Workload(application))
        self.add(name, replace(bench.subject(system), pool=[(TEXT, FILTERED)]))

    def findings(self, row: str, what: str, asked: Sequence[Ratio]) -> Iterator[Finding]:
        """Measure until every one of *asked* is decided, or there is no time left."""

        def found(rates: Rates) -> list[Finding]:
            return [
                Finding(
                    row,
                    f"{what}: {one.over} over {one.under}",
                    ratios(rates[one.over], rates[one.under]),
                    one.bar,
                    rates={side: rates[side] for side in (one.over, one.under)},
                )
                for one in asked
            ]

        yield from settled(partial(alternate, self._sides, seconds=self._terms.seconds), found, self._terms)


def insult_me(middleware: str, terms: Terms) -> Iterator[Finding]:
    """Compare ``insult_me`` of the tuned variant with stock."""
    asked = [Ratio(TUNED, STOCK, 4.0 if middleware == "xmlrpc" else 3.0)]
    with ExitStack() as stack:
        sides = Sides(stack, terms)
        sides.add_system(TUNED, middleware, Application.SERVICE, terms.brokers)
        sides.add_system(STOCK, f"{middleware}:{STOCK}", Application.SERVICE, terms.brokers)
        if middleware == "pyro4":
            asked.append(Ratio(TUNED, STOCK_MSGPACK, 1.8))
            with variables(MSGPACK):
                stock = f"{middleware}:{STOCK}"
                sides.add_system(STOCK_MSGPACK, stock, Application.SERVICE, terms.brokers)
        what = f"{MIDDLEWARES[middleware].label} insult_me, {CLIENTS} clients"
        yield from sides.findings(middleware, what, asked)


def redis_filter(terms: Terms) -> Iterator[Finding]:
    """Compare the filter over Redis with stock, on disk and with nothing kept, and with bare commands."""
    with ExitStack() as stack:
        sides = Sides(stack, terms, IN_FLIGHT)
        for guarantee, setting in ((ON_DISK, "always"), (NOTHING_KEPT, BARE)):
            urls = BrokerUrls(redis=redis_with(stack, setting))
            for name, variant in ((TUNED, "redis_impl"), (STOCK, f"redis_impl:{STOCK}")):
                sides.add_system(f"{name}, {guarantee}", variant, Application.FILTER, urls)
            if guarantee == ON_DISK:
                sides.add(BARE_LISTS, BareLists(urls.redis))
        asked = [_over_stock(ON_DISK, 12.0), _over_stock(NOTHING_KEPT, 14.0)]
        asked.append(Ratio(f"{TUNED}, {ON_DISK}", BARE_LISTS, 0.6))
        yield from sides.findings("redis", _filter_words("redis_impl"), asked)


def rabbitmq_filter(terms: Terms) -> Iterator[Finding]:
    """Compare the filter over RabbitMQ with stock, on disk and with nothing kept, and with bare pika."""
    urls = BrokerUrls(amqp=terms.brokers.amqp)
    with ExitStack() as stack:
        sides = Sides(stack, terms, IN_FLIGHT)
        for name, variant in ((TUNED, "rabbitmq"), (STOCK, f"rabbitmq:{STOCK}")):
            sides.add_system(f"{name}, {ON_DISK}", variant, Application.FILTER, urls)
            side = Side(variant, text_bytes=len(TEXT), guarantee=Guarantee.NOTHING)
            _, load = replace(side, in_flight=IN_FLIGHT, processes=CLIENTS).start(
                Bench(urls, Workload()), stack
            )
            sides.add_load(f"{name}, {NOTHING_KEPT}", load)
        sides.add(BARE_PIKA, BarePika(urls.amqp))
        asked = [_over_stock(ON_DISK, 2.0), _over_stock(NOTHING_KEPT, 2.0)]
        asked.append(Ratio(f"{TUNED}, {ON_DISK}", BARE_PIKA, 0.7))
        yield from sides.findings("rabbitmq", _filter_words("rabbitmq"), asked)


def _over_stock(guarantee: str, bar: float) -> Ratio:
    return Ratio(f"{TUNED}, {guarantee}", f"{STOCK}, {guarantee}", bar)


def _filter_words(middleware: str) -> str:
    return f"{MIDDLEWARES[middleware].label} filter, {CLIENTS} clients x {IN_FLIGHT} in flight"


def speedups(terms: Terms) -> Iterator[Finding]:
    """Compare 3 and 8 nodes with one, latency-bound, over every system that has its broker here."""
    for middleware in VARIANTS:
        described = MIDDLEWARES[middleware]
        missing = described.needed_brokers(Architecture.N_NODE) - terms.brokers.kinds
        if missing:
            yield Finding("speedup", f"{described.label}, speedup", missing=not_here(missing))
            continue
        found = partial(_speedup_findings, described.label)
        yield from settled(partial(_speedup_rates, middleware, terms), found, terms)


def _speedup_rates(middleware: str, terms: Terms, pairs: int) -> Rates:
    counts = (1, *SPEEDUP_BARS)
    rates: Rates = {str(count): [] for count in counts}
    bench = Bench(terms.brokers, Workload())
    for point in speedup(
        bench, [middleware], counts, LATENCY_BOUND, blocks=pairs, window_seconds=terms.seconds
    ):
        if not point.throughput:
            raise ContestantFailed(f"{middleware}, {point.nodes} node(s): {'; '.join(point.objections)}")
        rates[str(point.nodes)].append(point.throughput)
    return rates


def _speedup_findings(label: str, rates: Rates) -> list[Finding]:
    return [
        Finding(
            "speedup",
            f"{label}, speedup at {count} nodes, 5 ms waiting per text",
            ratios(rates[str(count)], rates["1"]),
            bar,
            rates={f"{count} nodes": rates[str(count)], "1 node": rates["1"]},
        )
        for count, bar in SPEEDUP_BARS.items()
    ]


def insults(terms: Terms) -> Iterator[Finding]:
    """Compare a service with a million stored insults with one that has ten."""
    bench = Bench(terms.brokers, Workload())
    growth = GrowthConfiguration(bench, (FEW, MANY), terms.pairs, terms.seconds, is_full=True)
    for curve in grown_insults("xmlrpc", growth):
        yield curve.finding


@dataclass(frozen=True, slots=True)
class Row:
    """*windows* of each round, and *start_seconds* around them, tell how long it should take."""

    what: str
    measure: Callable[[Terms], Iterator[Finding]]
    windows: int
    start_seconds: float
    needs: frozenset[str] = frozenset()


ROWS = {
    "xmlrpc": Row("XML-RPC insult_me", partial(insult_me, "xmlrpc"), 2, 4),
    "pyro4": Row("Pyro4 insult_me", partial(insult_me, "pyro4"), 3, 6),
    "redis": Row("Redis filter", redis_filter, 5, 8, frozenset({"redis"})),
    "rabbitmq": Row("RabbitMQ filter", rabbitmq_filter, 5, 8, frozenset({"rabbitmq"})),
    "speedup": Row("speedup at 3 and 8 nodes", speedups, 24, 60),
    "insults": Row("1,000,000 insults against 10", insults, 8, 60, frozenset({"redis"})),
    "censor": Row("censoring", censoring, 4, 3),
    "memory": Row("memory of the harness", memory, 0, 30),
    "worker": Row("start of workers", worker_start, 0, 15, frozenset({"redis", "rabbitmq"})),
}


def row_step(name: str, terms: Terms) -> Step:
    """Return the step that measures the row *name* as *terms* say, with the brokers of the session."""
    row = ROWS[name]

    def measure(bench: Bench) -> Iterator[Finding]:
        missing = row.needs - bench.brokers.kinds
        if missing:
            yield Finding(name, row.what, missing=not_here(missing))
            return
        try:
            yield from row.measure(replace(terms, brokers=bench.brokers))
        except (LabError, ContestantFailed, OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "message", "") or str(error)
            yield Finding(name, row.what, objections=[f"{type(error).__name__}: {said}"])

    seconds = row.start_seconds + row.windows * terms.pairs * terms.seconds
    return Step(row.what, seconds, frozenset(), measure)


def judged(run: Run) -> int:
    """Return the exit code: a threshold that is missed, or a row that is invalid, fails; undecided is 3."""
    verdicts = {one.verdict for one in run.findings}
    if verdicts & {Judgement.MISSED, Judgement.INVALID}:
        return FAILED
    return UNDECIDED if Judgement.UNDECIDED in verdicts else GOOD
