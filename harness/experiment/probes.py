"""What has no sides to compare: censoring, memory of the harness, starts of workers, scaling, anatomy."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from dynamic.simulator.simulation import Setting
from harness.experiment.anatomy import anatomy_step, library_step
from harness.experiment.bench import Bench, looks
from harness.experiment.scaling import SHORT, short_step, thorough_steps
from harness.experiment.scaling_system import ScalingSystem
from harness.experiment.session import Step
from harness.record.findings import Finding
from lab.applications.censor import Censor
from lab.bootstrap import ROOT
from lab.errors import InternalError
from lab.load.texts import corpus_texts, default_insults, generated_texts
from lab.middleware import MIDDLEWARES

LINES = 40_000
MEMORY_BAR = 300.0
PROGRAM_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Extent:
    """How long a probe measures."""

    blocks: int
    seconds: float
    """Of a window."""
    budget_seconds: float = 0.0
    requests: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """How it is measured, about how many seconds that takes, and the brokers that it needs."""

    measure: Callable[[Bench, Extent], Iterator[Finding]]
    seconds: float
    needs: frozenset[str] = frozenset()


def censoring(bench: Bench, extent: Extent) -> Iterator[Finding]:
    """Censor lines of text, of ASCII and of other letters, with 10 and with 100,000 insults, in turn."""
    corpus = bench.workload.corpus
    lines = list(islice(corpus_texts(corpus) if corpus else generated_texts(1), LINES))
    few = list(default_insults()[:10])
    sides: dict[str, tuple[Censor, list[str], float]] = {}
    for count in (10, 100_000):
        many = (f"zz{number:x} of them" if number % 2 else f"zz{number:x}" for number in range(count - 10))
        censor = Censor([*few, *many])
        for what, is_ascii, bar in (("ASCII", True, 60.0), ("other letters", False, 40.0)):
            if some := [line for line in lines if line.isascii() is is_ascii]:
                sides[f"{what}, {count:,} insults"] = censor, some, bar
    where = corpus.name if corpus else "generated texts"
    rates: dict[str, list[float]] = {name: [] for name in sides}

    def found() -> list[Finding]:
        return [
            Finding("censor", f"censoring {where}, {name}", rates[name], bar, "MB/s")
            for name, (_, _, bar) in sides.items()
        ]

    for _ in looks(
        extent.blocks, extent.budget_seconds, lambda: all(one.verdict != "undecided" for one in found())
    ):
        for name, (censor, some, _) in sides.items():
            rates[name].append(_megabytes_per_second(censor, some, extent.seconds))
    yield from found()


def _megabytes_per_second(censor: Censor, lines: Sequence[str], seconds: float) -> float:
    """Return 10^6 bytes of UTF-8 per second of one core."""
    size = sum(len(line.encode()) for line in lines)
    begun, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begun) < seconds or not done:
        for line in lines:
            censor.censor(line)
        done += size
    return done / 1e6 / elapsed


def memory(bench: Bench, extent: Extent) -> Iterator[Finding]:
    """Measure the memory of the harness after millions of requests against nothing."""
    for count in extent.requests:
        used = [against_nothing(count)["after"] for _ in range(3)]
        what = f"harness, memory after {count:,} requests, all processes"
        yield Finding("memory", what, used, MEMORY_BAR, "MB", at_least=False)


def against_nothing(count: int) -> dict[str, float]:
    """Make *count* requests against nothing in a program of its own; return what it says of its memory."""
    command = [sys.executable, "-m", "harness.probes.resources", str(count)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PROGRAM_SECONDS
    )
    if done.returncode:
        raise InternalError("memory", f"{' '.join(command[1:])}: {done.stderr.strip()[-200:]}")
    said: dict[str, float] = json.loads(done.stdout)
    return said


WORKERS = {1: 50.0, 47: 500.0}
"""How many are wished for at once, and the milliseconds until the median of them takes events."""


def worker_start(bench: Bench, extent: Extent) -> Iterator[Finding]:
    """Time the start of one worker, and of many that are wished for at once, each time by a new pool."""
    for workers, bar in WORKERS.items():
        setting = Setting(SHORT, max_workers=workers)
        values = []
        for _ in range(3):
            with ScalingSystem(bench.brokers, setting, ("--work-time", "20ms")) as system:
                values.append(1000 * system.start_seconds_of(workers))
        what = f"{workers} worker(s) wished for at once, until the median takes events"
        yield Finding("worker", what, values, bar, "ms", at_least=False)


PROBES = {
    "censoring": Probe(censoring, 15.0),
    "memory of the harness": Probe(memory, 30.0),
    "start of workers": Probe(worker_start, 15.0, frozenset({"redis", "rabbitmq"})),
}


SERIES: dict[str, Callable[[Sequence[str]], list[Step]]] = {
    "scaling policies": lambda names: [short_step()] if "rabbitmq" in names else [],
    "scaling policies on all loads": lambda names: thorough_steps() if "rabbitmq" in names else [],
    "anatomy of a request": lambda names: [anatomy_step(name) for name in names if name in MIDDLEWARES],
    "library on the path": lambda names: [library_step(name) for name in names],
}
"""Probes that are steps of their own, for the variants that are named."""
