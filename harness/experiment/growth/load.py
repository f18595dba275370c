"""More and more clients, nodes and requests, with the harness's own load generators."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from harness.experiment.growth.curve import Terms, resident, turning
from harness.experiment.speedup import CLIENTS as SHARED_CLIENTS
from harness.experiment.speedup import LATENCY_BOUND, speedup
from harness.load.measure import Generators
from harness.record.findings import HARNESS, Curve, Size
from harness.record.run import Point
from lab.bootstrap import ROOT
from lab.contract import Architecture
from lab.errors import InternalError
from lab.process.system import System

FEW_NODES, MANY_NODES_CLIENTS = 8, 64
"""Beyond so many nodes there are more clients: four per node, and a multiple of all numbers of nodes."""
CLIENTS, IN_FLIGHT = 4, 50
QUICK_SECONDS = 8.0
"""Of one middleware in the quick form: a size that would take longer, at the rate so far, is left out."""
CHUNK_SECONDS = 20.0
"""About how long a window of requests may take: more requests are made in several."""
PROGRAM_SECONDS = 900.0
MIB_PER_MB = 1e6 / 2**20


def clients(middleware: str, terms: Terms) -> Iterator[Curve]:
    """Measure closed loops of more and more clients of one node, all connected at the same time."""
    points: dict[int, list[Point]] = {count: [] for count in terms.sizes}
    with ExitStack() as stack:
        system = stack.enter_context(terms.bench.system(middleware, Architecture.ONE_NODE))
        loads = {count: terms.bench.load(system, count) for count in terms.sizes}
        for load in loads.values():
            stack.callback(load.close)
        for load in loads.values():
            load.wait_ready()
        for count in turning(terms.sizes, terms.windows):
            points[count].append(_window(terms, system, loads[count]))
        harness = {count: _harness(load) for count, load in loads.items()}
    yield Curve(
        "clients",
        middleware,
        "filter, one request in flight each",
        sizes=[_size(count, points[count], harness[count]) for count in terms.sizes],
    )


def nodes(middleware: str, terms: Terms) -> Iterator[Curve]:
    """Measure more and more nodes that wait 5 ms per text, all numbers of them up at the same time."""
    points: dict[int, list[Point]] = {count: [] for count in terms.sizes}
    usual = max(terms.sizes) <= FEW_NODES
    for point in speedup(
        terms.bench,
        middleware,
        terms.sizes,
        LATENCY_BOUND,
        blocks=terms.windows,
        window_seconds=terms.seconds,
        clients=SHARED_CLIENTS if usual else MANY_NODES_CLIENTS,
    ):
        points[point.nodes].append(point)
    yield Curve(
        "nodes",
        middleware,
        "filter, 5 ms waiting per text",
        sizes=[_size(count, points[count], {}) for count in terms.sizes],
    )


def requests(middleware: str, terms: Terms) -> Iterator[Curve]:
    """Make more and more requests of one system that stays up: the sizes count from its start."""
    sizes: list[Size] = []
    missing, done, begun = "", 0, time.monotonic()
    with ExitStack() as stack:
        system = stack.enter_context(terms.bench.system(middleware, Architecture.ONE_NODE))
        load = stack.enter_context(terms.bench.load(system, CLIENTS, IN_FLIGHT))
        for count in terms.sizes:
            rate = sizes[-1].median if sizes else 0.0
            seconds = (count - done) / rate if rate else 0.0
            if not terms.is_full and time.monotonic() - begun + seconds > QUICK_SECONDS:
                missing = (
                    f"{count:,} requests take over {QUICK_SECONDS:.0f} s at {rate:,.0f}/s: --full makes them"
                )
                break
            points = []
            while done < count:
                each = _each(count - done, rate)
                make = partial(Generators.requests, each=each)
                points.append(terms.bench.point("requests", system, load, make))
                done += CLIENTS * each
                rate = points[-1].throughput
            sizes.append(_size(count, points, _harness(load)))
    what = f"filter, {IN_FLIGHT} in flight per client"
    yield Curve("requests", middleware, what, sizes=sizes, missing=missing)


def harness_alone(sizes: Sequence[int]) -> Iterator[Curve]:
    """Measure the memory of the harness over more and more requests against nothing."""
    found = [(count, _against_nothing(count)) for count in sizes]
    measured = [
        Size(count, [said["done"] / said["seconds"]], {"harness": said["after"] * MIB_PER_MB})
        for count, said in found
    ]
    yield Curve("requests", HARNESS, "against nothing", sizes=measured)


def _window(terms: Terms, system: System, load: Generators) -> Point:
    return terms.bench.point("growth", system, load, partial(Generators.closed, seconds=terms.seconds))


def _size(count: int, points: Sequence[Point], harness: dict[str, float]) -> Size:
    """Gather the windows of a size; the memory is the highest of them."""
    for point in points:
        if not point.throughput:
            raise InternalError("growth", f"{count:,}: {'; '.join(point.objections)}")
    memory = dict(harness)
    for point in points:
        for name, mib in point.usage.rss_mib.items():
            memory[name] = max(mib, memory.get(name, 0.0))
    said = dict.fromkeys(objection for point in points for objection in point.objections)
    return Size(count, [point.throughput for point in points], memory, list(said))


def _each(left: int, rate: float) -> int:
    """Return how many of the *left* requests each client makes in the next window."""
    chunk = min(left, int(rate * CHUNK_SECONDS)) if rate else left
    return max(1, -(-chunk // CLIENTS))


def _harness(load: Generators) -> dict[str, float]:
    return resident({"harness": load.pids})


def _against_nothing(count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.harness.ten_million", str(count)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PROGRAM_SECONDS
    )
    if done.returncode:
        raise InternalError("growth", f"{' '.join(command[1:])}: {done.stderr.strip()[-200:]}")
    said: dict[str, float] = json.loads(done.stdout)
    return said
