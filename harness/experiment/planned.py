"""Open loop: one system under a plan, of a constant rate, of random arrivals, or of a load profile."""

from collections.abc import Iterator
from functools import partial

from harness.experiment.bench import Bench
from harness.experiment.capacity import CLIENTS
from harness.load.measure import Generators
from harness.record.run import Point
from lab.contract import Architecture
from lab.load.plans import Plan


def planned(bench: Bench, middleware: str, architecture: Architecture, plan: Plan) -> Iterator[Point]:
    """Send as *plan* says; it is kept beside the raw times."""
    with bench.system(middleware, architecture) as system, bench.load(system, CLIENTS) as load:
        yield bench.point(
            "planned", system, load, partial(Generators.open, plan=plan), setting=plan.description
        )
