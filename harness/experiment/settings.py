"""What each setting costs (`lab settings`): a table of changes, one line each, and how they are measured."""

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from harness.analysis.verdicts import FEWEST_REQUESTS, MOST_GENERATOR_CPU
from harness.experiment import changed_code
from harness.experiment.bench import Bench
from harness.experiment.contestants import (
    CLIENTS,
    FILTERED,
    TEXT,
    Contestant,
    ContestantFailed,
    Loaded,
    Terms,
    alternate,
    loaded,
    redis_with,
    variables,
)
from harness.experiment.session import Step
from harness.load.workload import Driver, SystemSubject
from harness.record.findings import SAME, Cost, noise_of
from harness.report.formatting import not_here
from lab.contract import Application, Architecture, Target
from lab.errors import Code, InvalidRequest, LabError
from lab.middleware import MIDDLEWARES
from lab.process.launcher import LocalLauncher, ProcessSpec
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.store.namespace import throwaway_namespace


@dataclass(frozen=True, slots=True)
class Setup:
    """How a system and its clients run. A setting changes one thing of it; the rest is as it comes."""

    in_flight: int = 0
    """Texts under way per client; 0: one call after the other."""
    batch: int = 0
    """Texts in one request of the client; 0: one."""
    text_bytes: int = 64
    node_arguments: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    """``LAB_*`` variables of nodes and clients."""
    appendfsync: str = ""
    """A private Redis with this; empty: the broker that there is."""
    variant: tuple[str, str] | None = None
    """What the lab does not offer, by setting and value (:mod:`harness.experiment.changed_code`)."""

    @property
    def node(self) -> "Setup":
        """What of it concerns the node: where that is the same, one node serves."""
        return replace(self, in_flight=0, batch=0, text_bytes=0)


Apply = Callable[[Setup, str], Setup]


def in_flight(setup: Setup, value: str) -> Setup:
    """Let each client have so many texts under way."""
    return replace(setup, in_flight=int(value))


def batch(setup: Setup, value: str) -> Setup:
    """Let each client send so many texts in one request; "off": one, which is no batch."""
    return replace(setup, batch=0 if value == "off" else int(value))


def payload(setup: Setup, value: str) -> Setup:
    """Send texts of that length, such as "16 B" or "64 KiB"."""
    number, unit = value.split()
    return replace(setup, text_bytes=int(number) * {"B": 1, "KiB": 1024}[unit])


def node_option(name: str) -> Apply:
    """Return what gives the node an option of its command line."""
    return lambda setup, value: replace(setup, node_arguments=(name, value))


def variable(name: str) -> Apply:
    """Return what sets a ``LAB_*`` variable of the node and of the clients."""
    return lambda setup, value: replace(setup, variables=((name, value),))


def private_redis(setup: Setup, value: str) -> Setup:
    """Let both sides have Redis servers of their own, which differ in what they write to the disk."""
    return replace(setup, appendfsync="no" if value == "off" else value)


def variant(setting: str) -> Apply:
    """Return what changes our own code, for this measurement only."""
    return lambda setup, value: replace(setup, variant=(setting, value))


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting, its usual value, the others, and how they are applied.

    *promises* says of a value what else it changes: a text that begins with "weaker guarantee" or "stronger
    guarantee".
    """

    middleware: str
    name: str
    default: str
    values: tuple[str, ...]
    apply: Apply
    promises: Mapping[str, str] = field(default_factory=dict)


DEFAULTS = {
    "xmlrpc": Setup(),
    "pyro4": Setup(variables=(("LAB_PYRO_SERIALIZER", "msgpack"),)),
    # 250 times 4 clients: as many as the largest prefetch and the largest batch.
    "redis_impl": Setup(in_flight=250),
    "rabbitmq": Setup(in_flight=250, variables=(("LAB_QUEUE_TYPE", "classic"),)),
}
"""Variables are given, so that those of the user's shell do not matter."""
_BATCHES = ("1", "10", "100")
_SIZES = ("16 B", "1 KiB", "64 KiB")
_EVERYSEC = "weaker guarantee: a crash may lose the last second"
_NO_FILE = "weaker guarantee: a kill loses everything"
_UNCONFIRMED = "weaker guarantee: nobody notices what the broker could not keep"
_TRANSIENT = "weaker guarantee: a broker that restarts loses what waits"
_QUORUM = "stronger guarantee: every message is on the disk, of each replica, before it is confirmed"
_MULTIPLEX = "weaker guarantee: a silent client stalls all others"

SETTINGS = (
    Setting("xmlrpc", "keep-alive", "on", ("off",), variant("keep-alive")),
    Setting("xmlrpc", "multicall", "off", _BATCHES, batch),
    Setting("xmlrpc", "payload", "64 B", _SIZES, payload),
    Setting("pyro4", "serializer", "msgpack", ("serpent",), variable("LAB_PYRO_SERIALIZER")),
    Setting(
        "pyro4",
        "server type",
        "thread",
        ("multiplex",),
        node_option("--server-type"),
        {"multiplex": _MULTIPLEX},
    ),
    Setting("pyro4", "batch", "off", _BATCHES, batch),
    Setting("pyro4", "payload", "64 B", _SIZES, payload),
    Setting("redis_impl", "batch", "500", _BATCHES, node_option("--batch")),
    Setting("redis_impl", "in flight", "250", ("1", "10", "1000"), in_flight),
    Setting(
        "redis_impl",
        "appendonly",
        "always",
        ("everysec", "off"),
        private_redis,
        {"everysec": _EVERYSEC, "off": _NO_FILE},
    ),
    Setting("redis_impl", "payload", "64 B", _SIZES, payload),
    Setting("rabbitmq", "prefetch", "200", ("1", "10", "100", "1000"), node_option("--prefetch")),
    Setting(
        "rabbitmq", "confirms", "asynchronous", ("none", "each"), variant("confirms"), {"none": _UNCONFIRMED}
    ),
    Setting(
        "rabbitmq", "messages", "persistent", ("transient",), variant("messages"), {"transient": _TRANSIENT}
    ),
    Setting(
        "rabbitmq", "queue type", "classic", ("quorum",), variable("LAB_QUEUE_TYPE"), {"quorum": _QUORUM}
    ),
    Setting("rabbitmq", "acknowledge", "multiple", ("each",), variant("acknowledge")),
    Setting("rabbitmq", "payload", "64 B", _SIZES, payload),
)


@dataclass(frozen=True, slots=True)
class Change:
    """One value of a setting, against the default."""

    setting: Setting
    value: str

    @property
    def sides(self) -> tuple[Setup, Setup]:
        """The default, and what differs from it."""
        usual = DEFAULTS[self.setting.middleware]
        changed = self.setting.apply(usual, self.value)
        # Two private brokers, or what is compared is also a broker that was found with one that was not.
        return (self.setting.apply(usual, self.setting.default) if changed.appendfsync else usual), changed


def changes(only: str = "") -> list[Change]:
    """Return the changes that *only* names; none: all. InvalidRequest if there is no such thing.

    It is a list such as ``xmlrpc,rabbitmq:prefetch,redis_impl:appendonly=off``.
    """
    every = [Change(setting, value) for setting in SETTINGS for value in setting.values]
    wanted = [_named(part.strip(), every) for part in only.split(",")] if only else [every]
    return [change for change in every if any(change in some for some in wanted)]


def _named(text: str, every: list[Change]) -> list[Change]:
    middleware, _, rest = text.partition(":")
    name, _, value = rest.partition("=")
    found = [one for one in every if one.setting.middleware == middleware]
    if not found:
        known = [one for one in MIDDLEWARES if one in DEFAULTS]
        raise InvalidRequest(Code.MALFORMED, f"no middleware {middleware!r}; there are {', '.join(known)}")
    if not rest:
        return found
    settings = {one.setting.name: one.setting for one in found}
    if name not in settings:
        message = f"{middleware} has no setting {name!r}; there are {', '.join(settings)}"
        raise InvalidRequest(Code.MALFORMED, message)
    if value and value not in settings[name].values:
        message = f"{middleware}:{name} has no value {value!r}; there are {', '.join(settings[name].values)}"
        raise InvalidRequest(Code.MALFORMED, message)
    return [one for one in found if one.setting.name == name and value in ("", one.value)]


def load_words(setup: Setup, clients: int) -> str:
    """Say under which load a default is measured."""
    depth = f"{setup.in_flight} in flight each" if setup.in_flight else "one call at a time"
    return f"{clients} clients, {depth}, texts of {setup.text_bytes} B, one node"


PADDING = " whatever else people write"


@dataclass(frozen=True, slots=True)
class Changed:
    """The filter at *target*, its clients set up so. Their process may be changed for it, and stays so."""

    middleware: str
    target: Target
    setup: Setup

    def connect(self) -> Driver:
        if self.setup.variant:
            changed_code.apply(["=".join(self.setup.variant)])
        pool = [texts(self.setup.text_bytes)]
        in_batches = bool(self.setup.batch)
        return SystemSubject(self.middleware, self.target, Application.FILTER, pool, in_batches).connect()


def texts(length: int) -> tuple[str, str]:
    """Return a text of *length* bytes with one insult, and what the filter must make of it."""
    rest = (PADDING * (length // len(PADDING) + 1))[: length - len(TEXT)]
    return TEXT + rest, FILTERED + rest


class Contestants:
    """Clients of one middleware by their setups; nodes end with *stack*, and serve all who need the same."""

    def __init__(self, stack: ExitStack, middleware: str, urls: BrokerUrls, clients: int) -> None:
        self._stack = stack
        self._middleware = middleware
        self._urls = urls
        self._count = clients
        self._nodes: dict[Setup, Target] = {}
        self._usual: dict[Setup, Loaded] = {}

    def usual(self, setup: Setup) -> Loaded:
        """Return clients that stay until the middleware is done: those of a default."""
        if setup not in self._usual:
            if setup.node not in self._nodes:
                self._nodes[setup.node] = self._node(self._stack, setup)
            self._usual[setup] = self._clients(self._stack, setup, self._nodes[setup.node])
        return self._usual[setup]

    def changed(self, stack: ExitStack, setup: Setup) -> Loaded:
        """Return clients that end with *stack*, as does their node, unless one like it runs."""
        return self._clients(stack, setup, self._nodes.get(setup.node) or self._node(stack, setup))

    def again(self, stack: ExitStack, setup: Setup) -> Loaded:
        """Return clients, and a node, that end with *stack*, though others like them run."""
        return self._clients(stack, setup, self._node(stack, setup))

    def _clients(self, stack: ExitStack, setup: Setup, target: Target) -> Loaded:
        with variables(dict(setup.variables)):
            changed = Changed(self._middleware, target, setup)
            return loaded(stack, changed, self._count, setup.batch or setup.in_flight or 1)

    def _node(self, stack: ExitStack, setup: Setup) -> Target:
        urls = self._urls
        if setup.appendfsync:
            urls = replace(urls, redis=redis_with(stack, setup.appendfsync))
        with variables(dict(setup.variables)):
            if setup.variant and self._middleware == "rabbitmq":
                return _changed_node(stack, setup.variant, urls)
            spec = SystemSpec(self._middleware, Application.FILTER, node_arguments=setup.node_arguments)
            return stack.enter_context(System(spec, urls)).target


def _changed_node(stack: ExitStack, variant: tuple[str, str], urls: BrokerUrls) -> Target:
    namespace = throwaway_namespace()
    stack.callback(MIDDLEWARES["rabbitmq"].delete_queues, urls.amqp, namespace)
    launcher = stack.enter_context(LocalLauncher())
    arguments = ("=".join(variant), "rabbitmq.insult_filter", "--namespace", namespace)
    launcher.start(ProcessSpec("changed", changed_code.__name__, arguments, urls.environment()))
    return Target(urls.amqp, namespace=namespace)


USUAL, CHANGED = "default", "changed"
LONGEST_SECONDS = 5.0
"""Of a window that is made longer because its side is slow."""
START_SECONDS = 2.5
"""About what a change takes beside its windows."""
_FAILURES = (LabError, ContestantFailed, OSError, subprocess.SubprocessError)


def settings_step(middleware: str, changes: Sequence[Change], seconds: float, pairs: int) -> Step:
    """Return the step that measures *changes* of one middleware in *pairs* of windows of *seconds*."""

    def measure(bench: Bench) -> Iterator[Cost]:
        yield from measured(middleware, changes, Terms(bench.brokers, seconds, pairs))

    needed = MIDDLEWARES[middleware].needed_brokers(Architecture.ONE_NODE)
    what = f"{MIDDLEWARES[middleware].label}: {len(changes)} changes"
    expected = (len(changes) + 1) * (START_SECONDS + 2 * pairs * seconds)  # with the default against itself
    return Step(what, expected, needed, measure)


def measured(
    middleware: str, changes: Sequence[Change], terms: Terms, clients: int = CLIENTS
) -> Iterator[Cost]:
    """Yield what the default does against itself, then what each of *changes* does.

    What fails is an objection to that change, or to all if it is the default that failed.
    """
    missing = MIDDLEWARES[middleware].needed_brokers(Architecture.ONE_NODE) - terms.brokers.kinds
    if missing:
        yield Cost(middleware, SAME, missing=not_here(missing))
        return
    with ExitStack() as stack:
        sides, noise = Contestants(stack, middleware, terms.brokers, clients), None
        for change in (None, *changes):
            cost = _described(middleware, change)
            with ExitStack() as inner:
                try:
                    cost = _measured(cost, *_loads(sides, inner, middleware, change), terms)
                except _FAILURES as error:
                    said = getattr(error, "message", "") or str(error)
                    cost = replace(cost, objections=[f"{type(error).__name__}: {said}"])
            if change is None:
                noise = noise_of(cost)
            elif noise is None:
                cost = replace(cost, objections=[*cost.objections, "the default did not hold against itself"])
            yield replace(cost, noise=noise)


def _described(middleware: str, change: Change | None) -> Cost:
    if change is None:
        return Cost(middleware, SAME)
    setting = change.setting
    promise = setting.promises.get(change.value, "")
    return Cost(middleware, setting.name, change.value, setting.default, promise)


def _loads(
    sides: Contestants, stack: ExitStack, middleware: str, change: Change | None
) -> tuple[Loaded, Loaded]:
    if change is None:
        setup = DEFAULTS[middleware]
        return sides.usual(setup), sides.again(stack, setup)
    usual, changed = change.sides
    return sides.usual(usual), sides.changed(stack, changed)


def _measured(cost: Cost, usual: Loaded, changed: Loaded, terms: Terms) -> Cost:
    watched = {USUAL: _Watched(usual), CHANGED: _Watched(changed)}
    sides: dict[str, Contestant] = dict(watched)
    rates = alternate(sides, terms.pairs, terms.seconds)
    objections = [f"{name}: {said}" for name, side in watched.items() for said in side.objections]
    return replace(cost, usual_rates=rates[USUAL], rates=rates[CHANGED], objections=objections)


@dataclass(slots=True)
class _Watched:
    """A side that notes what speaks against its windows."""

    load: Loaded
    fewest: float = float("inf")
    busiest: float = 0.0

    def window(self, seconds: float) -> float:
        """Measure for *seconds*, or for as long as a slow side takes to answer enough."""
        enough = 2 * FEWEST_REQUESTS / self.load.rate if self.load.rate else 0.0
        lasting = max(seconds, min(enough, LONGEST_SECONDS))
        rate = self.load.window(lasting)
        self.fewest = min(self.fewest, rate * lasting)
        self.busiest = max(self.busiest, self.load.cpu_share)
        return rate

    @property
    def objections(self) -> list[str]:
        found = []
        if self.fewest < FEWEST_REQUESTS:
            found.append(f"too short: a window of about {self.fewest:.0f} requests")
        if self.busiest > MOST_GENERATOR_CPU:
            found.append(f"client-bound: each load generator used {self.busiest:.0%} of a core")
        return found
