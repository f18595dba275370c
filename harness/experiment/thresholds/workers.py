"""The bar of dynamic scaling: from the order to take events to the first message, from the ready pool."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from dynamic.events import EventNames
from dynamic.pool.client import PoolClient
from dynamic.pool.status import PoolStatus
from dynamic.queues import EventQueues
from dynamic.sender import Completions, EventSender
from harness.experiment.thresholds.alone import spread
from harness.experiment.thresholds.load import SideFailed
from harness.experiment.thresholds.sides import Terms
from harness.record.findings import Finding
from lab.process.launcher import LocalLauncher, ProcessSpec
from lab.settings import settings
from lab.store import open_store
from lab.store.namespace import delete_namespace, throwaway_namespace

BAR_MILLISECONDS = 50.0
BATCH = 20
EVENTS_EACH = 20
"""Of a batch: enough that nobody who starts late finds the queue empty."""
WAIT_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 0.02


def worker_start(terms: Terms) -> Iterator[Finding]:
    """Time one worker, forked and spare, and a batch of 20 that are forked."""
    rounds = max(7, terms.pairs)
    with _Pool(terms, spares=0) as pool:
        forked = [pool.first_messages(1)[0] for _ in range(rounds)]
        batches = [pool.first_messages(BATCH) for _ in range(3)]
    with _Pool(terms, spares=1) as pool:
        spare = [pool.first_messages(1)[0] for _ in range(rounds)]
    what = "one worker, forked by the ready pool, order to first message"
    yield Finding("worker", what, forked, BAR_MILLISECONDS, "ms", at_least=False)
    yield Finding(
        "worker",
        "one worker that waits as a spare, order to first message",
        spare,
        None,
        "ms",
        at_least=False,
    )
    notes = [f"all workers of a batch: {spread([each for batch in batches for each in batch])}"]
    slowest = [max(batch) for batch in batches]
    what = f"a batch of {BATCH} wished for at once, order to the last one's first message"
    yield Finding("worker", what, slowest, None, "ms", at_least=False, notes=notes)


class _Pool:
    """A pool in a namespace of its own, and events for its workers."""

    def __init__(self, terms: Terms, spares: int) -> None:
        self._urls = terms.brokers
        self._spares = spares
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
        options = ("--namespace", namespace, "--max", str(BATCH), "--spares", str(self._spares))
        arguments = (*options, "--work-time", "20ms")
        pool = launcher.start(ProcessSpec("pool", "dynamic.pool", arguments, urls.environment()))
        self._client = PoolClient(Path(pool.address))
        stack.callback(self._client.close)

    def first_messages(self, workers: int) -> list[float]:
        """Start *workers* at once with events waiting; return the milliseconds to the first one of each."""
        self._until(lambda status: status.spare == self._spares)
        for _ in range(1 if workers == 1 else EVENTS_EACH * workers):
            self._sent += 1
            self._sender.send("tonto", str(self._sent), time.monotonic_ns(), self._names.done)
        if not self._sender.settle(WAIT_SECONDS):
            raise SideFailed("the broker did not confirm the events")
        self._client.scale(workers)
        status = self._until(lambda status: len(_first_seconds(status)) >= workers)
        self._until(lambda _: self._done >= self._sent)
        self._client.scale(0)
        self._until(lambda status: not status.ready and not status.leaving)
        return [1000 * seconds for seconds in _first_seconds(status)]

    def _until(self, holds: Callable[[PoolStatus], bool]) -> PoolStatus:
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            status = self._client.status()
            if holds(status):
                return status
            time.sleep(LOOK_AGAIN_SECONDS)
        raise SideFailed(f"the pool was not where it should be after {WAIT_SECONDS:g} s: {status}")

    def _finished(self, event_id: str, now_ns: int, answer: bytes) -> None:
        self._done += 1


def _first_seconds(status: PoolStatus) -> list[float]:
    return [worker.first_seconds for worker in status.workers if worker.first_seconds is not None]
