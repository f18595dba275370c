"""The thresholds of one contestant: censoring, memory, starts, more nodes, more insults."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from pathlib import Path

from dynamic.events import EventNames
from dynamic.pool.client import PoolClient
from dynamic.pool.status import PoolStatus
from dynamic.queues import EventQueues
from dynamic.sender import Completions, EventSender
from harness.experiment.contestants import (
    Contestant,
    ContestantFailed,
    Rates,
    Terms,
    alternate,
    settled,
)
from harness.record.findings import Finding
from lab.applications.censor import Censor
from lab.bootstrap import ROOT
from lab.data import default_insults
from lab.load.texts import corpus_texts, generated_texts
from lab.process.launcher import LocalLauncher, ProcessSpec
from lab.settings import settings
from lab.store import open_store
from lab.store.namespace import delete_namespace, throwaway_namespace

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
    command = [sys.executable, "-m", "harness.probes.memory", str(millions * 1_000_000)]
    used = []
    for _ in range(3):
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=PROGRAM_SECONDS
        )
        used.append(json.loads(done.stdout)["after"])
    what = f"harness, memory after {millions} million requests, all processes"
    yield Finding("memory", what, used, MEMORY_BAR, "MB", at_least=False)


ONE_BAR, BATCH_BAR = 50.0, 500.0
"""Milliseconds."""
BATCH = 47
EVENTS_EACH = 20
"""Of a batch: enough that nobody who starts late finds the queue empty."""
WAIT_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 0.02


def worker_start(terms: Terms) -> Iterator[Finding]:
    """Time the start of one worker, and of many that are wished for at once."""
    with _Pool(terms) as pool:
        alone = [pool.first_messages(1)[0] for _ in range(max(7, terms.pairs))]
        batches = [pool.first_messages(BATCH)[BATCH // 2] for _ in range(3)]
    one = "one worker, forked by the ready pool, order to first message"
    yield Finding("worker", one, alone, ONE_BAR, "ms", at_least=False)
    many = f"{BATCH} workers wished for at once, order to the first message of the median"
    yield Finding("worker", many, batches, BATCH_BAR, "ms", at_least=False)


class _Pool:
    """A pool in a namespace of its own, and events for its workers."""

    def __init__(self, terms: Terms) -> None:
        self._urls = terms.brokers
        self._stack = ExitStack()
        self._sent = self._done = 0

    def __enter__(self) -> "_Pool":
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        namespace, urls = throwaway_namespace(), self._urls
        self._names = EventNames(namespace)
        stack.callback(delete_namespace, urls.redis, namespace)
        with closing(open_store(urls.redis, namespace)) as store:
            store.add_insults(["tonto"])
        queues = stack.enter_context(EventQueues(urls.amqp, self._names, settings().queue_type))
        stack.callback(queues.delete)
        stack.enter_context(Completions(urls.amqp, self._names, self._finished))
        self._sender = stack.enter_context(EventSender(urls.amqp, self._names))
        launcher = stack.enter_context(LocalLauncher())
        options = ("--namespace", namespace, "--max", str(BATCH), "--spares", "0")
        arguments = (*options, "--work-time", "20ms")
        pool = launcher.start(ProcessSpec("pool", "dynamic.pool", arguments, urls.environment()))
        self._client = PoolClient(Path(pool.address))
        stack.callback(self._client.close)

    def first_messages(self, workers: int) -> list[float]:
        """Start *workers* at once with events waiting; return the milliseconds to the first one of each.

        They ascend. The slower half may be missing: there may be no event left for it.
        """
        self._until(lambda status: not status.spare)
        for _ in range(1 if workers == 1 else EVENTS_EACH * workers):
            self._sent += 1
            self._sender.send("tonto", str(self._sent), time.monotonic_ns(), self._names.done)
        if not self._sender.settle(WAIT_SECONDS):
            raise ContestantFailed("the broker did not confirm the events")
        self._client.scale(workers)
        status = self._until(lambda status: len(_first_seconds(status)) > workers // 2)
        self._until(lambda _: self._done >= self._sent)
        self._client.scale(0)
        self._until(lambda status: not status.ready and not status.leaving)
        return sorted(1000 * seconds for seconds in _first_seconds(status))

    def _until(self, holds: Callable[[PoolStatus], bool]) -> PoolStatus:
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            status = self._client.status()
            if holds(status):
                return status
            time.sleep(LOOK_AGAIN_SECONDS)
        raise ContestantFailed(f"the pool was not where it should be after {WAIT_SECONDS:g} s")

    def _finished(self, event_id: str, now_ns: int, answer: bytes) -> None:
        self._done += 1


def _first_seconds(status: PoolStatus) -> list[float]:
    return [worker.first_seconds for worker in status.workers if worker.first_seconds is not None]
