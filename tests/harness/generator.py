"""A load generator process: clients in closed loops, each in a thread, every reply checked."""

import itertools
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

from lab.contract import Application, InsultFilter, InsultService, Target
from lab.data import default_insults
from lab.errors import LabError
from lab.middlewares import MIDDLEWARES
from tests.harness.samples import Samples, Window

WARM_UP = Window(requests=20)
"""Made by each client before its first window, and discarded."""
DEADLINE_SECONDS = 30.0
OFFSET_BETWEEN_CLIENTS = 97
"""So that clients do not send the same text at the same time."""
now = time.perf_counter_ns


@dataclass(frozen=True, slots=True)
class Job:
    """What one generator process drives: *clients*, each with up to *in_flight* requests under way."""

    middleware: str
    target: Target
    application: Application
    pool: list[tuple[str, str]]
    """Texts and what the filter must make of them."""
    clients: int
    in_flight: int = 1


class LoadClient(Protocol):
    """A client in a closed loop."""

    def drive(self, turns: Iterable[int], samples: Samples) -> None:
        """Make a request for each of *turns* and note what became of it."""


class FilterLoad:
    """Asks for the filtering of one text after the other."""

    def __init__(self, client: InsultFilter, pool: list[tuple[str, str]]) -> None:
        self._client = client
        self._pool = pool

    def drive(self, turns: Iterable[int], samples: Samples) -> None:
        for turn in turns:
            text, expected = self._pool[turn % len(self._pool)]
            sent_ns = now()
            try:
                answer = self._client.filter(text)
            except LabError as error:
                samples.failed[error.code] += 1
            else:
                samples.note(sent_ns, now(), answer == expected)


class PipelinedFilterLoad:
    """Keeps *in_flight* texts under way. A text counts as sent when the client takes it up."""

    def __init__(self, client: InsultFilter, pool: list[tuple[str, str]], in_flight: int) -> None:
        self._client = client
        self._pool = pool
        self._in_flight = in_flight

    def drive(self, turns: Iterable[int], samples: Samples) -> None:
        under_way: deque[tuple[int, str]] = deque()

        def texts() -> Iterator[str]:
            for turn in turns:
                text, expected = self._pool[turn % len(self._pool)]
                under_way.append((now(), expected))
                yield text

        try:
            for answer in self._client.filter_many(texts(), self._in_flight):
                sent_ns, expected = under_way.popleft()
                samples.note(sent_ns, now(), answer == expected)
        except LabError as error:
            samples.failed[error.code] += len(under_way)


class ServiceLoad:
    """Asks for one random insult after the other."""

    def __init__(self, client: InsultService) -> None:
        self._client = client
        self._stored = frozenset(default_insults())

    def drive(self, turns: Iterable[int], samples: Samples) -> None:
        for _ in turns:
            sent_ns = now()
            try:
                answer = self._client.insult_me()
            except LabError as error:
                samples.failed[error.code] += 1
            else:
                samples.note(sent_ns, now(), answer in self._stored)


def run_generator(job: Job, parent: Connection) -> None:
    """Connect, warm up, then run a window for each that *parent* sends, until it sends None or ends."""
    try:
        with ExitStack() as stack:
            loads = _connect(job, stack)
            _run_window(loads, WARM_UP)
            parent.send("ready")
            while (window := parent.recv()) is not None:
                parent.send(_run_window(loads, window))
    except (EOFError, KeyboardInterrupt):
        pass  # the parent ended, or the user ended everybody
    except LabError as error:
        parent.send(error)


def _connect(job: Job, stack: ExitStack) -> list[LoadClient]:
    middleware = MIDDLEWARES[job.middleware]
    if job.application is Application.SERVICE:
        return [
            ServiceLoad(stack.enter_context(middleware.service_client(job.target, DEADLINE_SECONDS)))
            for _ in range(job.clients)
        ]
    clients = [
        stack.enter_context(middleware.filter_client(job.target, DEADLINE_SECONDS))
        for _ in range(job.clients)
    ]
    if job.in_flight == 1:
        return [FilterLoad(client, job.pool) for client in clients]
    return [PipelinedFilterLoad(client, job.pool, job.in_flight) for client in clients]


def _run_window(loads: list[LoadClient], window: Window) -> Samples:
    """Drive every client in a thread of its own; return what happened to all requests."""
    samples = [Samples() for _ in loads]
    threads = [
        threading.Thread(target=load.drive, args=(_turns(index * OFFSET_BETWEEN_CLIENTS, window), mine))
        for index, (load, mine) in enumerate(zip(loads, samples, strict=True))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = Samples()
    for mine in samples:
        total.add(mine)
    return total


def _turns(start: int, window: Window) -> Iterator[int]:
    if window.requests:
        return iter(range(start, start + window.requests))
    end_ns = now() + int(window.seconds * 1e9)
    return itertools.takewhile(lambda _: now() < end_ns, itertools.count(start))
