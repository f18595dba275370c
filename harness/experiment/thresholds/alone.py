"""The thresholds that have no other side: censoring, memory, starts of workers."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice

from dynamic.simulator.simulation import Setting
from harness.experiment.contestants import (
    Contestant,
    Rates,
    Terms,
    alternate,
    settled,
)
from harness.experiment.scaling import SHORT
from harness.experiment.scaling_system import ScalingSystem
from harness.record.findings import Finding
from lab.applications.censor import Censor
from lab.bootstrap import ROOT
from lab.load.texts import corpus_texts, default_insults, generated_texts

LINES = 40_000
MEMORY_BAR = 300.0
PROGRAM_SECONDS = 600.0


def censoring(terms: Terms) -> Iterator[Finding]:
    """Censor lines of text, of ASCII and of other letters, with 10 and with 100,000 insults, in turn."""
    source = corpus_texts(terms.corpus) if terms.corpus else generated_texts(1)
    lines = list(islice(source, LINES))
    few = list(default_insults()[:10])
    sides: dict[str, Contestant] = {}
    bars: dict[str, float] = {}
    for count in (10, 100_000):
        many = (f"zz{number:x} of them" if number % 2 else f"zz{number:x}" for number in range(count - 10))
        censor = Censor([*few, *many])
        for what, is_ascii, bar in (("ASCII", True, 60.0), ("other letters", False, 40.0)):
            if some := [line for line in lines if line.isascii() is is_ascii]:
                name = f"{what}, {count:,} insults"
                sides[name], bars[name] = _Censoring(censor, some), bar
    where = terms.corpus.name if terms.corpus else "generated texts"

    def found(rates: Rates) -> list[Finding]:
        return [
            Finding("censor", f"censoring {where}, {name}", rates[name], bar, "MB/s")
            for name, bar in bars.items()
        ]

    yield from settled(partial(alternate, sides, seconds=terms.seconds), found, terms)


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
    command = [sys.executable, "-m", "harness.probes.resources", str(millions * 1_000_000)]
    used = []
    for _ in range(3):
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=PROGRAM_SECONDS
        )
        used.append(json.loads(done.stdout)["after"])
    what = f"harness, memory after {millions} million requests, all processes"
    yield Finding("memory", what, used, MEMORY_BAR, "MB", at_least=False)


WORKERS = {1: 50.0, 47: 500.0}
"""How many are wished for at once, and the milliseconds until the median of them takes events."""


def worker_start(terms: Terms) -> Iterator[Finding]:
    """Time the start of one worker, and of many that are wished for at once, each time by a new pool."""
    for workers, bar in WORKERS.items():
        setting = Setting(SHORT, max_workers=workers)
        values = []
        for _ in range(3):
            with ScalingSystem(terms.brokers, setting, ("--work-time", "20ms")) as system:
                values.append(1000 * system.start_seconds_of(workers))
        what = f"{workers} worker(s) wished for at once, until the median takes events"
        yield Finding("worker", what, values, bar, "ms", at_least=False)
