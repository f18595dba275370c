"""Measure the anatomy of a request to one system, and how much of a call lies in the middleware's library.

The anatomy comes from windows without and with sampling, in turn. The library's share is counted twice: by
calls of Python functions in a warm call, and by samples of CPU time under load.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from harness.experiment.bench import N_NODES, Bench
from harness.experiment.session import Step, needs
from harness.load.measure import Generators, LocalGenerators, deaf_to_interrupts
from harness.load.workload import Driver, Subject
from harness.probes import probed
from harness.probes.parts import (
    REST,
    Stack,
    kind_of,
    kind_of_stack,
    part_of,
    place_of,
    read_stacks,
    relative,
)
from harness.record.findings import (
    APPLICATION,
    CARRYING,
    GENERATOR,
    LIBRARY,
    LibraryShare,
    Profile,
    Repetition,
)
from harness.record.run import Point
from harness.report.formatting import not_here
from lab.contract import Application, Architecture
from lab.errors import InternalError, LabError
from lab.middleware import MIDDLEWARES
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.topology import NODE

QUICK, FULL = (1.0, 5), (5.0, 10)
"""Seconds of a window, and pairs of a window without sampling and one with it."""
START_SECONDS = 5.0
"""About what it takes to start a system and its load generators, and to end them."""
LIBRARY_START_SECONDS = 6.0
"""The same of two systems, without load generators for the first."""
CLIENTS = 4
WARM_UP_CALLS, CALLS = 50, 100
TEXT = "you are a fool, a villain and a friend of mine"
ATTEMPTS = 5
"""CPython takes a stack in a signal handler, perhaps while it links a frame. Now and then a sampled process
dies of that (python/cpython#123967 and its relatives); what was under way is measured on a new system."""
Seen = Mapping[str, Counter[Stack]]
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class SampledSubject:
    """A subject whose load generators let themselves be sampled."""

    subject: Subject
    folder: Path

    def connect(self) -> Driver:
        probed.let_sample(self.folder)
        return self.subject.connect()


@dataclass(frozen=True, slots=True)
class SampledSystem:
    """A system and its load generators, which are up and can be sampled."""

    bench: Bench
    system: System
    load: Generators
    folder: Path

    def pair(self, seconds: float, *, sampled_first: bool) -> tuple[Point, tuple[Point, Seen]]:
        """Measure a window without and one with sampling."""
        if sampled_first:
            with_sampling = self.window(seconds, is_sampled=True)
            return self.window(seconds, is_sampled=False)[0], with_sampling
        plain, _ = self.window(seconds, is_sampled=False)
        return plain, self.window(seconds, is_sampled=True)

    def window(self, seconds: float, *, is_sampled: bool) -> tuple[Point, Seen]:
        """Measure one window."""
        pids = {NODE: [node.pid for node in self.system.nodes], GENERATOR: self.load.pids}
        nothing: probed.Seen = {}
        with probed.probing(self.folder, pids) if is_sampled else nullcontext(nothing) as seen:
            closed = partial(Generators.closed, seconds=seconds)
            point = self.bench.point("anatomy", self.system, self.load, closed)
        if not point.throughput:
            raise InternalError("anatomy", "; ".join(point.objections))
        texts = {component: [one.decode() for one in some] for component, some in seen.items()}
        return point, {component: sum(map(read_stacks, some), Counter()) for component, some in texts.items()}


@contextmanager
def sampled_system(bench: Bench, profile: Profile) -> Iterator[SampledSystem]:
    """Start what *profile* describes, and its load generators."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-anatomy-")))
        architecture = Architecture(profile.architecture)
        probe = (probed.__name__, probed.STACKS, str(folder))
        spec = SystemSpec(
            profile.middleware, bench.workload.application, architecture, profile.nodes, through=probe
        )
        system = stack.enter_context(System(spec, bench.brokers))
        subject = SampledSubject(bench.subject(system), folder)
        load = stack.enter_context(LocalGenerators(subject, profile.clients))
        yield SampledSystem(bench, system, load, folder)


def measured(
    bench: Bench, profile: Profile, count: int, measure: Callable[[SampledSystem, int], Found]
) -> list[Found]:
    """Return what *measure* finds for each number below *count*. A failure is followed by a new system."""
    found: list[Found] = []
    failures = 0
    while len(found) < count:
        try:
            with sampled_system(bench, profile) as system:
                while len(found) < count:
                    found.append(measure(system, len(found)))
        except LabError:
            failures += 1
            if failures == ATTEMPTS:
                raise
    return found


def anatomy(
    bench: Bench,
    middleware: str,
    architecture: Architecture,
    clients: int,
    repetitions: int,
    window_seconds: float,
) -> Profile:
    """Return where the CPU time of a request goes."""
    nodes = N_NODES if architecture is Architecture.N_NODE else 1
    profile = Profile(middleware, architecture, bench.workload.application, nodes, clients)
    if probed.WHY_NOT:
        return replace(profile, missing=probed.WHY_NOT)
    missing = MIDDLEWARES[middleware].needed_brokers(architecture) - bench.brokers.kinds
    if missing:
        return replace(profile, missing=not_here(missing))
    found: list[Repetition] = []
    places: dict[str, Counter[str]] = {NODE: Counter(), GENERATOR: Counter()}
    objections: list[str] = []
    for plain, (point, seen) in measured(
        bench,
        profile,
        repetitions,
        lambda system, number: system.pair(window_seconds, sampled_first=bool(number % 2)),
    ):
        found.append(_repetition(plain, point, seen))
        objections += [*plain.objections, *point.objections]
        for component, stacks in seen.items():
            places[component] += _counted(stacks, place_of)
    return replace(
        profile,
        repetitions=found,
        places={component: dict(seen) for component, seen in places.items()},
        objections=objections,
    )


def _repetition(plain: Point, point: Point, seen: Seen) -> Repetition:
    return Repetition(
        plain.throughput,
        point.throughput,
        plain.cpu_ms,
        point.cpu_ms,
        {component: dict(_counted(stacks, part_of)) for component, stacks in seen.items()},
    )


def _counted(stacks: Counter[Stack], name: Callable[[Stack], str]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for stack, number in stacks.items():
        counted[name(stack)] += number
    return counted


def anatomy_step(
    middleware: str,
    architecture: Architecture = Architecture.ONE_NODE,
    clients: int = CLIENTS,
    pairs: int = FULL[1],
    seconds: float = FULL[0],
) -> Step:
    """Return the step that measures the anatomy of a request in *pairs* of windows of *seconds*."""

    def measure(bench: Bench) -> Iterator[Profile]:
        yield anatomy(bench, middleware, architecture, clients, pairs, seconds)

    what = f"anatomy of a request: {MIDDLEWARES[middleware].label}"
    needed = MIDDLEWARES[middleware].needed_brokers(architecture)
    return Step(what, START_SECONDS + 2 * pairs * seconds, needed, measure)


def library_step(middleware: str, seconds: float = 2.0) -> Step:
    """Return the step that measures the library's share of one variant."""

    def measure(bench: Bench) -> Iterator[LibraryShare]:
        yield library_share(bench, middleware, seconds)

    what = f"the library on the path: {MIDDLEWARES[middleware].label}"
    expected = LIBRARY_START_SECONDS + seconds
    return Step(what, expected, needs(middleware, Architecture.ONE_NODE), measure)


def library_share(bench: Bench, middleware: str, seconds: float) -> LibraryShare:
    """Measure one node of *middleware* (``NAME`` or ``NAME:stock``); sample it for *seconds* under load."""
    share = shared_calls(bench.brokers, middleware)
    for stack, count in _sampled_stacks(bench, middleware, seconds).items():
        share.samples[kind_of_stack(stack, middleware)] += count
    return share


def shared_calls(brokers: BrokerUrls, middleware: str) -> LibraryShare:
    """Count the calls of one node of *middleware* by kind. Nothing is sampled yet."""
    urls = BrokerUrls(brokers.redis, brokers.amqp)  # the rest of it cannot be sent to a process
    # In a process of its own: importing a tuned variant changes its library, and that is not undone.
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        with deaf_to_interrupts():
            counted = fresh.submit(counted_calls, middleware, urls)
        calls = counted.result()
    kinds = dict.fromkeys((LIBRARY, CARRYING, APPLICATION, REST), 0.0)
    for path, count in calls.items():
        kinds[kind_of(path, middleware)] += count / CALLS
    ours = sorted(relative(path) for path in calls if kind_of(path, middleware) == CARRYING)
    return LibraryShare(middleware, kinds, dict.fromkeys(kinds, 0), tuple(ours))


def _sampled_stacks(bench: Bench, middleware: str, seconds: float) -> Counter[Stack]:
    """Return the stacks of a node and its load generators in *seconds*; none where WHY_NOT says so."""
    if probed.WHY_NOT:
        return Counter()
    profile = Profile(middleware, Architecture.ONE_NODE, bench.workload.application, 1, CLIENTS)
    [(_, seen)] = measured(bench, profile, 1, lambda system, _: system.window(seconds, is_sampled=True))
    return sum(seen.values(), Counter())


def counted_calls(middleware: str, brokers: BrokerUrls) -> Counter[str]:
    """Return how many Python functions of each file CALLS warm calls run, client and node together."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-library-")))
        probe = (probed.__name__, probed.CALLS, str(folder))
        system = stack.enter_context(
            System(SystemSpec(middleware, Application.FILTER, through=probe), brokers)
        )
        counter = probed.CallCounter()
        stack.callback(counter.uninstall)
        counter.install()
        client = stack.enter_context(system.filter())
        for _ in range(WARM_UP_CALLS):
            client.filter(TEXT)
        with probed.probing(folder, {NODE: [system.nodes[0].pid]}) as seen:
            counter.start()
            for _ in range(CALLS):
                client.filter(TEXT)
            ours = counter.stop()
    calls = sum((Counter(json.loads(one)) for one in (ours, *seen[NODE])), Counter[str]())
    del calls[__file__], calls[probed.__file__]
    return calls
