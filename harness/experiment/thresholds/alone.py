"""The bars that need no other side: censoring, the harness's memory, and what starting takes."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice

from harness.experiment.thresholds.load import SideFailed
from harness.experiment.thresholds.sides import Side, Terms, alternate
from harness.record.findings import Finding
from harness.report.formatting import not_here
from lab.applications.censor import Censor
from lab.bootstrap import ROOT
from lab.contract import Application, Architecture
from lab.data import default_insults
from lab.load.texts import corpus_texts, generated_texts
from lab.middleware import MIDDLEWARES
from lab.process.system import System, SystemSpec

LINES = 40_000
CENSOR_BAR = 20.0
MEMORY_BAR = 300.0
GROWTH_MEGABYTES = 10.0
HELP_BAR = 300.0
PROGRAM_SECONDS = 600.0


def censoring(terms: Terms) -> Iterator[Finding]:
    """Censor lines of text with 10 and with 100,000 insults, in turn."""
    source = corpus_texts(terms.corpus) if terms.corpus else generated_texts(1)
    lines = list(islice(source, LINES))
    few = list(default_insults()[:10])
    sides: dict[str, Side] = {}
    for count in (10, 100_000):
        many = (f"zz{number:x} of them" if number % 2 else f"zz{number:x}" for number in range(count - 10))
        sides[f"{count:,} insults"] = _Censoring(Censor([*few, *many]), lines)
    rates = alternate(sides, terms.pairs, terms.seconds)
    where = terms.corpus.name if terms.corpus else "generated texts"
    for name, values in rates.items():
        what = f"censoring lines of {where}, {name}"
        yield Finding("censor", what, values, CENSOR_BAR, "MB/s", rates={name: values})


class _Censoring:
    def __init__(self, censor: Censor, lines: list[str]) -> None:
        self._censor = censor
        self._lines = lines
        self._bytes = sum(len(line.encode()) for line in lines)

    def window(self, seconds: float) -> float:
        """Return megabytes (10^6 bytes of UTF-8) per second of one core."""
        begun, done = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - begun) < seconds or not done:
            for line in self._lines:
                self._censor.censor(line)
            done += self._bytes
        return done / 1e6 / elapsed


def memory(terms: Terms) -> Iterator[Finding]:
    """Measure the memory of the harness after millions of requests against nothing."""
    millions = 10 if terms.is_full else 1
    command = [sys.executable, "-m", "tests.harness.ten_million", str(millions * 1_000_000)]
    used, grown = [], []
    for _ in range(3):
        found = json.loads(_output(command))
        if found["done"] != millions * 1_000_000:
            raise SideFailed(f"{found['done']:,} requests were done")
        used.append(found["after"])
        grown.append(found["settled"] - found["before"])
    notes = [f"all processes; without what is free but kept, grown by {max(grown):.1f} MB at most"]
    objections = [] if max(grown) < GROWTH_MEGABYTES else [f"memory grew by {max(grown):.1f} MB"]
    if not terms.is_full:
        notes.append("one million: --full measures ten")
    what = f"harness, memory after {millions} million requests"
    yield Finding("memory", what, used, MEMORY_BAR, "MB", at_least=False, notes=notes, objections=objections)


def starting(terms: Terms) -> Iterator[Finding]:
    """Time the start of a node, of a system of three, and of the command's help."""
    help_command = [sys.executable, "-m", "lab", "--help"]
    times = [_milliseconds(lambda: _output(help_command)) for _ in range(max(5, terms.pairs))]
    yield Finding("start", "`lab --help`", times, HELP_BAR, "ms", at_least=False)
    for middleware, described in MIDDLEWARES.items():
        for architecture, nodes in ((Architecture.ONE_NODE, 1), (Architecture.N_NODE, 3)):
            whole = "one node" if nodes == 1 else f"whole system of {nodes} nodes"
            what = f"{described.label}, filter, {whole}, until it is ready"
            missing = described.needed_brokers(architecture) - terms.brokers.kinds
            if missing:
                yield Finding("start", what, missing=not_here(missing))
                continue
            spec = SystemSpec(middleware, Application.FILTER, architecture, nodes)
            times = [_start_milliseconds(spec, terms) for _ in range(3)]
            yield Finding("start", what, times, None, "ms", at_least=False)


def _start_milliseconds(spec: SystemSpec, terms: Terms) -> float:
    with ExitStack() as stack:
        return _milliseconds(lambda: stack.enter_context(System(spec, terms.brokers)))


def _milliseconds(do: Callable[[], object]) -> float:
    begun = time.perf_counter()
    do()
    return 1000 * (time.perf_counter() - begun)


def _output(command: list[str]) -> str:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PROGRAM_SECONDS
    )
    if done.returncode:
        raise SideFailed(f"{' '.join(command[1:])}: {done.stderr.strip()[-200:]}")
    return done.stdout


def spread(values: list[float]) -> str:
    """Return median and range in milliseconds."""
    return f"median {statistics.median(values):.1f} ms, {min(values):.1f} to {max(values):.1f}"
