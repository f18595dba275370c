"""Measure the anatomy of a request to one system: windows without and with sampling, in turn."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from harness.experiment.bench import N_NODES, Bench
from harness.experiment.session import Step
from harness.load.measure import Generators, LocalGenerators
from harness.load.workload import Driver, Subject
from harness.probes import sampled
from harness.probes.parts import part_of, place_of
from harness.probes.sampling import Sampling, Stack
from harness.record.findings import GENERATOR, Profile, Repetition
from harness.record.run import Point
from harness.report.formatting import not_here
from lab.contract import Architecture
from lab.errors import InternalError
from lab.middleware import MIDDLEWARES
from lab.process.launcher import ProcessSpec
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.topology import NODE, Role

QUICK, FULL = (1.0, 5), (5.0, 10)
"""Seconds of a window, and pairs of a window without sampling and one with it."""
START_SECONDS = 5.0
"""About what it takes to start a system and its load generators, and to end them."""
CLIENTS = 4
Seen = Mapping[str, Counter[Stack]]


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
    if sampled.WHY_NOT:
        return replace(profile, missing=sampled.WHY_NOT)
    missing = MIDDLEWARES[middleware].needed_brokers(architecture) - bench.brokers.kinds
    if missing:
        return replace(profile, missing=not_here(missing))
    found: list[Repetition] = []
    places: dict[str, Counter[str]] = {NODE: Counter(), GENERATOR: Counter()}
    objections: list[str] = []
    with _loaded(bench, profile) as windows:
        for number in range(repetitions):
            plain, (point, seen) = windows.pair(window_seconds, sampled_first=bool(number % 2))
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


def sampled_stacks(bench: Bench, middleware: str, seconds: float) -> Counter[Stack]:
    """Return the stacks of a node and its load generators in *seconds*; none where WHY_NOT says so."""
    if sampled.WHY_NOT:
        return Counter()
    profile = Profile(middleware, Architecture.ONE_NODE, bench.workload.application, 1, CLIENTS)
    with _loaded(bench, profile) as windows:
        seen = windows.window(seconds, is_sampled=True)[1]
    return sum(seen.values(), Counter())


@dataclass(frozen=True, slots=True)
class _Windows:
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
        sampling = Sampling(self.folder, pids)
        with sampling if is_sampled else nullcontext():
            closed = partial(Generators.closed, seconds=seconds)
            point = self.bench.point("anatomy", self.system, self.load, closed)
        if not point.throughput:
            raise InternalError("anatomy", "; ".join(point.objections))
        return point, sampling.stacks


@contextmanager
def _loaded(bench: Bench, profile: Profile) -> Iterator[_Windows]:
    """Start a system and load generators that let themselves be sampled."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-anatomy-")))
        architecture = Architecture(profile.architecture)
        spec = SystemSpec(profile.middleware, bench.workload.application, architecture, profile.nodes)
        system = stack.enter_context(_SampledCluster(spec, bench.brokers, folder))
        subject = _SampledSubject(bench.subject(system), folder)
        load = stack.enter_context(LocalGenerators(subject, profile.clients))
        yield _Windows(bench, system, load, folder)


class _SampledCluster(System):
    """A system whose nodes let themselves be sampled."""

    def __init__(self, spec: SystemSpec, brokers: BrokerUrls, folder: Path) -> None:
        super().__init__(spec, brokers)
        self._folder = folder

    def _process(self, role: Role) -> ProcessSpec:
        spec = super()._process(role)
        if role.name != NODE:
            return spec
        arguments = (str(self._folder), spec.module, *spec.arguments)
        return replace(spec, module=sampled.__name__, arguments=arguments)


@dataclass(frozen=True, slots=True)
class _SampledSubject:
    """A subject whose load generators let themselves be sampled."""

    subject: Subject
    folder: Path

    def connect(self) -> Driver:
        sampled.let_sample(self.folder)
        return self.subject.connect()


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
