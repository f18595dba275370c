"""The studies: what grows, how far in the quick form and in the full one, and who measures it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.experiment.bench import Bench
from harness.experiment.growth import load
from harness.experiment.growth.curve import Study, Terms
from harness.experiment.growth.insults import insults
from harness.experiment.growth.subscribers import subscribers
from harness.experiment.session import Step
from harness.experiment.thresholds.load import SideFailed
from harness.record.findings import Curve
from harness.report.formatting import not_here
from lab.contract import Architecture
from lab.errors import InternalError
from lab.middleware import MIDDLEWARES


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
        load.clients,
        quick=(1, 8, 64),
        full=(1, 2, 4, 8, 16, 32, 64, 128, 256),
        seconds=(1.0, 1.5),
        architectures=ALONE,
    ),
    "nodes": Growth(
        load.nodes, quick=(1, 2, 4), full=(1, 2, 4, 8, 16), seconds=(1.5, 3.0), architectures=MANY
    ),
    "requests": Growth(
        load.requests,
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
        terms = Terms(bench, growth.sizes(is_full=is_full), windows, seconds, is_full)
        yield from _measured(growth.measure(middleware, terms))

    return Step(f"{study}: {label}", growth.expected(windows, seconds, is_full=is_full), frozenset(), measure)


def harness_step(*, is_full: bool) -> Step:
    """Return the step that measures the harness alone, over more and more requests."""
    counts = HARNESS_FULL if is_full else HARNESS_QUICK
    return Step(
        "requests: the harness alone",
        HARNESS_SECONDS[is_full],
        frozenset(),
        lambda bench: _measured(load.harness_alone(counts)),
    )


def _measured(curves: Iterator[Curve]) -> Iterator[Curve]:
    """Yield *curves*; what goes wrong meanwhile ends the step, not the run."""
    try:
        yield from curves
    except (SideFailed, OSError) as error:
        raise InternalError("growth", f"{type(error).__name__}: {error}") from error
