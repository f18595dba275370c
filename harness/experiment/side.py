"""A side of an experiment: one system and its load, each factor a field; and how it is started."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import redis

from harness.experiment.bare_broker import BareLists, BarePika
from harness.experiment.bench import N_NODES, Bench, Conditions, store_insults
from harness.experiment.changed_code import Changed, main
from harness.experiment.revision import imported_from, tree
from harness.load.measure import PROCESSES, Generators
from harness.load.submitted import SubmitSubject
from harness.load.workload import ADD_AND_REMOVE, INSULT_ME, FilterSubject, ServiceSubject, Subject
from harness.record.run import Guarantee, usual_guarantee
from lab.brokers import redis_server
from lab.contract import Application, Architecture
from lab.errors import Code, InvalidRequest, Unavailable
from lab.middleware import MIDDLEWARES, Middleware
from lab.process.launcher import Launcher, LocalLauncher
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.work import load_handler

FILTER, SUBMIT = "filter", "submit"
TICKS = "ticks"
"""Of the broadcast: they come unasked."""
BARE = "bare commands"
"""What a broker itself can do: the same payloads without any application."""
APPLICATIONS = {
    FILTER: Application.FILTER,
    SUBMIT: Application.FILTER,
    INSULT_ME: Application.SERVICE,
    ADD_AND_REMOVE: Application.SERVICE,
    TICKS: Application.SERVICE,
    BARE: Application.FILTER,
}
"""By operation: what clients ask for, over and over."""
APPENDFSYNC = {Guarantee.NOTHING: "no", Guarantee.MEMORY: "everysec", Guarantee.DISK: "always"}
UNGUARDED = {
    Guarantee.NOTHING: ("messages=transient", "confirms=none", "acknowledge=none"),
    Guarantee.MEMORY: ("messages=transient",),
    Guarantee.DISK: (),
}
"""What is changed in nodes and clients of RabbitMQ, which as they come keep all on the disk."""


@dataclass(frozen=True, slots=True)
class Side:
    """One system and its load. What is left empty, or 0, is as the system comes."""

    middleware: str
    architecture: Architecture = Architecture.ONE_NODE
    nodes: int = 0
    clients: int = 4
    in_flight: int = 1
    batch: int = 0
    """Texts in one request; 0: no batches."""
    text_bytes: int = 0
    """Length of the texts; 0: generated ones, or the lines of *corpus*."""
    corpus: Path | None = None
    work: str = ""
    """Declared work per text: "5ms waiting" or "2ms computing"."""
    handler: str = ""
    """A user's own function of texts, ``module:function``, in the place of the censoring."""
    unchecked: bool = False
    """Do not compare the handler's answers: it is not deterministic."""
    guarantee: Guarantee | None = None
    operation: str = FILTER
    insults: int = 0
    """Stored insults; 0: those that come with the lab."""
    subscribers: int = 1
    """To whom ticks come."""
    interval: str = "5s"
    """Between ticks."""
    processes: int = PROCESSES
    """Load generators."""
    options: tuple[str, ...] = ()
    """Options of the nodes, such as ``--prefetch=1``."""
    variables: tuple[tuple[str, str], ...] = ()
    """Variables of the environment of nodes and clients."""
    changes: tuple[str, ...] = ()
    """Changes of our own code (:mod:`harness.experiment.changed_code`) in nodes and clients."""
    revision: str = ""
    """The commit whose nodes and clients are measured; empty: the code as it is."""
    label: str = ""
    """What results call it."""
    factors: tuple[tuple[str, str], ...] = ()
    """What its experiment varies, by name."""

    def __post_init__(self) -> None:
        for said in self._refusals():
            raise InvalidRequest(Code.MALFORMED, said)

    @property
    def application(self) -> Application:
        """Which application it takes."""
        return APPLICATIONS[self.operation]

    @property
    def described(self) -> Middleware:
        """What its variant declares."""
        return MIDDLEWARES[self.middleware]

    @property
    def needs(self) -> frozenset[str]:
        """The brokers without which it cannot be started."""
        return self.described.needed_brokers(self.architecture)

    @property
    def system_key(self) -> "Side":
        """What of it concerns the system: sides that are alike in it may share one that stays up."""
        return replace(
            self,
            clients=1,
            in_flight=1,
            batch=0,
            text_bytes=0,
            corpus=None,
            unchecked=False,
            operation=INSULT_ME if self.application is Application.SERVICE else FILTER,
            processes=PROCESSES,
            label="",
            factors=(),
        )

    def system(self, bench: Bench, stack: ExitStack) -> System:
        """Return the system, not yet started; start its brokers where the guarantee asks for other ones."""
        if bench.machines and (self.guarantee or self.variables or self.changes or self.revision):
            told = "a guarantee, variables, changed code and revisions are of processes of this machine only"
            raise InvalidRequest(Code.MALFORMED, f"--cluster: {told}")
        urls = bench.brokers
        if self.guarantee and "redis" in self.needs:
            urls = replace(urls, redis=redis_with(stack, APPENDFSYNC[self.guarantee]))
        changes = self._changes
        is_changed = changes and not self.described.is_direct  # of direct ones only clients are changed
        spec = SystemSpec(
            self.middleware,
            self.application,
            self.architecture,
            self.nodes or (N_NODES if self.architecture is Architecture.N_NODE else 1),
            interval=self.interval,
            node_arguments=self._node_arguments,
            through=(main.__module__, ",".join(changes)) if is_changed else (),
        )
        launcher: Launcher | None = bench.machines.launcher() if bench.machines else None
        if self.revision:
            launcher = LocalLauncher(root=tree(self.revision))
        return System(spec, urls, launcher=launcher)

    def load(self, bench: Bench, system: System) -> Generators:
        """Return load generators for *system*, which is up; they are not yet ready."""
        code = imported_from(self.revision) if self.revision else nullcontext()
        with environment(dict(self.variables)), code:
            depth = self.batch or self.in_flight
            return bench.generators(self._subject(bench, system), self.clients, depth, self.processes)

    def conditions(self, bench: Bench) -> Conditions:
        """Return what a point of it says besides who was measured."""
        return {
            "work": self.work,
            "guarantee": str(self.kept(bench.brokers)),
            "batch": self.batch,
            "factors": dict(self.factors),
        }

    def kept(self, brokers: BrokerUrls) -> Guarantee:
        """Return what is promised of an accepted request, given the *brokers* that there are."""
        return self.guarantee or usual_guarantee(
            self.described, brokers.descriptions, is_stored=self._is_stored
        )

    @property
    def _is_stored(self) -> bool:
        """Whether what a direct middleware accepts goes to Redis."""
        return self.architecture is Architecture.N_NODE and self.operation != FILTER

    @property
    def _changes(self) -> tuple[str, ...]:
        kept = UNGUARDED[self.guarantee] if self.guarantee and self.described.broker == "rabbitmq" else ()
        return (*kept, *self.changes)

    @property
    def _node_arguments(self) -> tuple[str, ...]:
        length, _, kind = self.work.partition(" ")
        work = (f"--work-time={length}" if kind == "waiting" else f"--work-cpu={length}",) if length else ()
        handler = (f"--handler={self.handler}",) if self.handler else ()
        return (*work, *handler, *self.options)

    def _subject(self, bench: Bench, system: System) -> Subject:
        subject: Subject
        if self.operation == BARE:
            urls = system.urls
            subject = BareLists(urls.redis) if self.described.broker == "redis" else BarePika(urls.amqp)
        elif self.application is Application.SERVICE:
            subject = ServiceSubject(self.middleware, system.target, self.operation)
        elif self.operation == SUBMIT:
            subject = SubmitSubject(self.middleware, system.target, self._pool(bench))
        else:
            pool, is_batch = self._pool(bench), bool(self.batch)
            subject = FilterSubject(self.middleware, system.target, pool, is_batch)
        return Changed(subject, self._changes) if self._changes else subject

    def _pool(self, bench: Bench) -> list[tuple[str, str]]:
        """Return texts and what the filter must make of them."""
        if self.text_bytes:
            pool = [known_text(self.text_bytes)]
        else:
            corpus = self.corpus or bench.workload.corpus
            pool = replace(bench.workload, application=self.application, corpus=corpus).pool()
        if not self.handler:
            return pool
        if self.unchecked:
            return [(text, Anything()) for text, _ in pool]
        handle = load_handler(self.handler)
        return [(text, handle(text)) for text, _ in pool]

    def _refusals(self) -> Iterator[str]:
        """Yield what cannot be together, and what is possible."""
        is_direct, name = self.described.is_direct, self.middleware
        if self.architecture is Architecture.ONE_NODE and self.nodes > 1:
            yield f"nodes: {self.nodes} cannot be of one-node; leave the architecture out, or give n-node"
        if self.guarantee not in (None, Guarantee.NOTHING) and is_direct and not self._is_stored:
            yield (
                f"guarantee: {self.guarantee!s} is not possible for {self.operation} over {name}, "
                f"{self.architecture!s}; possible is {Guarantee.NOTHING!s}"
            )
        if self.guarantee and self.described.broker == "" and not is_direct:
            yield f"guarantee: {name} has no broker whose guarantee can be changed"
        if self.operation == BARE and is_direct:
            yield f"operation: {BARE} are those of a broker, and {name} has none"
        if self.operation == SUBMIT and self.in_flight > 1:
            yield f"operation: {SUBMIT} takes no in flight: its clients do not wait for results"
        if self.operation == SUBMIT and self.batch:
            yield f"batch: {SUBMIT} takes one text at a time"
        if self.batch and not is_direct:
            yield f"batch: {name} has no batches; XML-RPC and Pyro4 have"
        if self.batch and self.in_flight > 1:
            yield "batch: batches are sent one after the other; leave in flight out"
        if self.application is Application.SERVICE and (self.work or self.handler or self.batch):
            yield f"operation: {self.operation} takes no work, no handler and no batches; filter does"
        if self.unchecked and not self.handler:
            yield "unchecked: only the answers of a handler are not checked; name one"
        if self.insults and self.application is Application.FILTER:
            yield f"insults: stored ones are for insult_me and add and remove, not for {self.operation}"


def start_systems(bench: Bench, sides: Sequence[Side], stack: ExitStack) -> list[System]:
    """Start the systems of *sides* side by side, and store insults. All of it ends with *stack*."""
    systems = [side.system(bench, stack) for side in sides]
    stack.callback(_end, systems)
    starting = [(side, system.starting()) for side, system in zip(sides, systems, strict=True)]
    while starting:
        starting = [(side, steps) for side, steps in starting if _goes_on(side, steps)]
    for side, system in zip(sides, systems, strict=True):
        if side.application is Application.SERVICE:
            store_insults(system, side.insults)
    return systems


def _goes_on(side: Side, steps: Iterator[str]) -> bool:
    """Do the next step of a start; tell whether there was one."""
    with environment(dict(side.variables)):
        return bool(next(steps, ""))


def _end(systems: Sequence[System]) -> None:
    """Stop *systems* side by side."""
    with ThreadPoolExecutor(max(1, len(systems))) as pool:
        list(pool.map(System.close, systems))


class Anything(str):
    """Equals every text: an answer that nobody checks."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str)

    def __ne__(self, other: object) -> bool:
        return not isinstance(other, str)


TEXT, FILTERED = "hola tonto, adeu", "hola CENSORED, adeu"
PADDING = " whatever else people write"


def known_text(length: int) -> tuple[str, str]:
    """Return a text of *length* bytes, at least 16, with one insult; and what the filter must make of it."""
    rest = (PADDING * (length // len(PADDING) + 1))[: length - len(TEXT)]
    return TEXT + rest, FILTERED + rest


@contextmanager
def environment(given: Mapping[str, str]) -> Iterator[None]:
    """Let processes that are started meanwhile have these variables; our own settings were read before."""
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def redis_with(stack: ExitStack, appendfsync: str) -> str:
    """Start a Redis; *appendfsync*: always, everysec, or "no" for no file at all."""
    path = redis_server.binary()
    if not path:
        raise Unavailable("no redis-server here to start with other settings")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-redis-")))
    url, server = redis_server.private(path, folder)
    stack.callback(server.close)
    with redis.Redis.from_url(url) as client:
        name = "appendonly" if appendfsync == "no" else "appendfsync"
        client.config_set(name, appendfsync)
    return url
