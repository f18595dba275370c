"""Measure changes of settings one by one, each in alternating windows with the default."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from harness.analysis.verdicts import FEWEST_REQUESTS, MOST_GENERATOR_CPU
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
from harness.experiment.settings import variants
from harness.experiment.settings.table import DEFAULTS, Change, Setup
from harness.load.workload import Driver, SystemSubject
from harness.record.findings import SAME, Cost, noise_of
from harness.report.formatting import not_here
from lab.contract import Application, Architecture, Target
from lab.errors import LabError
from lab.middleware import MIDDLEWARES
from lab.process.launcher import LocalLauncher, ProcessSpec
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.store.namespace import throwaway_namespace

PADDING = " whatever else people write"


@dataclass(frozen=True, slots=True)
class Changed:
    """The filter at *target*, its clients set up so. Their process may be changed for it, and stays so."""

    middleware: str
    target: Target
    setup: Setup

    def connect(self) -> Driver:
        if self.setup.variant:
            variants.apply(*self.setup.variant)
        pool = [texts(self.setup.text_bytes)]
        return SystemSubject(self.middleware, self.target, Application.FILTER, pool).connect()


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
            return loaded(stack, changed, self._count, setup.in_flight or 1)

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
    arguments = (*variant, "--namespace", namespace)
    launcher.start(ProcessSpec("changed", variants.__name__, arguments, urls.environment()))
    return Target(urls.amqp, namespace=namespace)


USUAL, CHANGED = "default", "changed"
LONGEST_SECONDS = 5.0
"""Of a window that is made longer because its side is slow."""
START_SECONDS = 2.5
"""About what a change takes beside its windows."""
_FAILURES = (LabError, ContestantFailed, OSError, subprocess.SubprocessError)


def seconds_of(changes: Sequence[Change], terms: Terms) -> float:
    """Return about how long *changes* of one middleware take, with that of the default against itself."""
    return (len(changes) + 1) * (START_SECONDS + 2 * terms.pairs * terms.seconds)


def settings_step(middleware: str, changes: Sequence[Change], seconds: float, pairs: int) -> Step:
    """Return the step that measures *changes* of one middleware in *pairs* of windows of *seconds*."""

    def measure(bench: Bench) -> Iterator[Cost]:
        yield from measured(middleware, changes, Terms(bench.brokers, seconds, pairs))

    needed = MIDDLEWARES[middleware].needed_brokers(Architecture.ONE_NODE)
    what = f"{MIDDLEWARES[middleware].label}: {len(changes)} changes"
    return Step(what, seconds_of(changes, Terms(BrokerUrls(), seconds, pairs)), needed, measure)


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
