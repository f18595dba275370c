"""Measure how much of a warm ``filter`` call lies in the middleware's library: by calls and by CPU time."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from harness.experiment.anatomy import sampled_stacks
from harness.experiment.bench import Bench
from harness.experiment.session import Step, needs
from harness.probes import library
from harness.probes.library import (
    APPLICATION,
    REST,
    CallCounter,
    counted,
    kind_of,
    kind_of_stack,
)
from harness.probes.parts import relative
from harness.record.findings import CARRYING, LIBRARY, LibraryShare
from lab.contract import Application, Architecture
from lab.middleware import MIDDLEWARES
from lab.process.launcher import ProcessSpec
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.topology import NODE, Role

WARM_UP, CALLS = 50, 100
START_SECONDS = 6.0
"""About what it takes to start a system twice."""
TEXT = "you are a fool, a villain and a friend of mine"


def library_step(middleware: str, seconds: float = 2.0) -> Step:
    """Return the step that measures one variant."""

    def measure(bench: Bench) -> Iterator[LibraryShare]:
        yield library_share(bench, middleware, seconds)

    what = f"the library on the path: {MIDDLEWARES[middleware].label}"
    return Step(what, START_SECONDS + seconds, needs(middleware, Architecture.ONE_NODE), measure)


def library_share(bench: Bench, middleware: str, seconds: float) -> LibraryShare:
    """Measure one node of *middleware* (``NAME`` or ``NAME:stock``); sample it for *seconds* under load."""
    # In a process of its own: importing a tuned variant changes its library, and that is not undone.
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        calls = fresh.submit(counted_calls, middleware, bench.brokers).result()
    kinds = dict.fromkeys((LIBRARY, CARRYING, APPLICATION, REST), 0.0)
    for path, count in calls.items():
        kinds[kind_of(path, middleware)] += count / CALLS
    samples = dict.fromkeys(kinds, 0)
    for stack, count in sampled_stacks(bench, middleware, seconds).items():
        samples[kind_of_stack(stack, middleware)] += count
    ours = sorted(relative(path) for path in calls if kind_of(path, middleware) == CARRYING)
    return LibraryShare(middleware, kinds, samples, tuple(ours))


def counted_calls(middleware: str, brokers: BrokerUrls) -> Counter[str]:
    """Return how many Python functions of each file CALLS warm calls run, client and node together."""
    calls: Counter[str] = Counter()
    spec = SystemSpec(middleware, Application.FILTER)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-library-")))
        system = stack.enter_context(_CountedSystem(spec, brokers, folder))
        counter = CallCounter()
        stack.callback(counter.uninstall)
        counter.install()
        client = stack.enter_context(system.filter())
        for _ in range(WARM_UP):
            client.filter(TEXT)
        with counted(folder, system.nodes[0].pid, calls):
            counter.is_on = True
            for _ in range(CALLS):
                client.filter(TEXT)
            counter.is_on = False
    calls.update(counter.calls)
    del calls[__file__], calls[library.__file__]
    return calls


class _CountedSystem(System):
    """A system whose nodes let their calls be counted."""

    def __init__(self, spec: SystemSpec, brokers: BrokerUrls, folder: Path) -> None:
        super().__init__(spec, brokers)
        self._folder = folder

    def _process(self, role: Role) -> ProcessSpec:
        spec = super()._process(role)
        if role.name != NODE:
            return spec
        arguments = (str(self._folder), spec.module, *spec.arguments)
        return replace(spec, module=library.__name__, arguments=arguments)
