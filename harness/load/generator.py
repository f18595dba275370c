"""A load generator: a process whose clients, each in a thread, send for one window after the other.

They send in a closed loop, in a pipeline, or when a plan says so."""

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from harness.load.submitted import Submitter
from harness.load.workload import Driver, Subject
from harness.record.ledger import RawFile, Recorder, Tally
from lab.errors import LabError

NUMBERS_PER_CLIENT = 1 << 40
"""So that no two clients make requests of the same number."""
OFFSET_BETWEEN_CLIENTS = 97
"""So that clients do not send the same text at the same time."""
START_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Window:
    """How long clients send: *requests* in all, or for *seconds*, or as *due_ns*, a plan for all, says."""

    requests: int = 0
    seconds: float = 0.0
    due_ns: Sequence[int] | None = None
    start_ns: int = 0
    """When a plan begins, on the clock that all processes share."""
    raw: Path = Path(os.devnull)


@dataclass(frozen=True, slots=True)
class Job:
    """What one process drives: *clients* of *subject*, the first of them being number *first* of all."""

    subject: Subject
    first: int
    clients: int
    in_flight: int
    warm_up: Window


def run_generator(job: Job, next_planned: "Synchronized[int]", parent: Connection) -> None:
    """Connect and warm up; then run a window for each that *parent* sends, until it sends None or ends."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # it was not to be heard before
        with ExitStack() as stack:
            drivers = [stack.enter_context(closing(job.subject.connect())) for _ in range(job.clients)]
            _run(job, drivers, job.warm_up, next_planned)
            parent.send("ready")
            while (window := parent.recv()) is not None:
                parent.send(_run(job, drivers, window, next_planned))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        pass  # the parent ended, or the user interrupted all
    except LabError as error:
        with suppress(BrokenPipeError):  # another generator has failed before, and the parent has gone on
            parent.send(error)


def _run(job: Job, drivers: list[Driver], window: Window, next_planned: "Synchronized[int]") -> Tally:
    spent = time.process_time()
    with closing(RawFile(window.raw)) as raw:
        recorders = [Recorder(raw) for _ in drivers]
        errors: list[LabError] = []

        def send(client: int, driver: Driver, notes: Recorder) -> None:
            try:
                _send(job, client, driver, window, next_planned, notes)
            except LabError as error:  # the disk is full: the main thread reports it to the parent
                errors.append(error)

        threads = [
            threading.Thread(target=send, args=(job.first + index, driver, mine))
            for index, (driver, mine) in enumerate(zip(drivers, recorders, strict=True))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        total = Tally(cpu_seconds=time.process_time() - spent)
        for recorder in recorders:
            recorder.flush()
            total.add(recorder.tally)
    return total


def _send(
    job: Job, client: int, driver: Driver, window: Window, next_planned: "Synchronized[int]", notes: Recorder
) -> None:

    def take(count: int = 1) -> int:
        with next_planned.get_lock():
            number = next_planned.value
            next_planned.value = number + count
        return number

    if window.due_ns is not None and isinstance(driver, Submitter):
        open_loop(driver, take, window.due_ns, window.start_ns, notes, driver.submit)
        driver.wait_for(notes)
        return
    if window.due_ns is not None:
        send = open_loop if job.in_flight == 1 else open_pipeline
        send(driver, take, window.due_ns, window.start_ns, notes)
        return
    if window.requests:
        numbers = _shared(take, window.requests)
    else:
        numbers = _until(client * (NUMBERS_PER_CLIENT + OFFSET_BETWEEN_CLIENTS), window.seconds)
    if job.in_flight == 1:
        closed_loop(driver, numbers, notes)
    else:
        pipeline(driver, numbers, job.in_flight, notes)


PORTIONS, MOST_AT_ONCE = 800, 64
PIPELINED = 64
"""Requests that a caller sends at most before it waits for their answers."""


def _shared(take: Callable[[int], int], requests: int) -> Iterator[int]:
    """Take from the *requests* of all, a few at once, so that no client is idle while others have many."""
    count = min(max(1, requests // PORTIONS), MOST_AT_ONCE)
    while (first := take(count)) < requests:
        yield from range(first, min(first + count, requests))


def _until(start: int, seconds: float) -> Iterator[int]:
    end_ns = now() + int(seconds * 1e9)
    return itertools.takewhile(lambda _: now() < end_ns, itertools.count(start))


now = time.perf_counter_ns


def closed_loop(driver: Driver, numbers: Iterator[int], recorder: Recorder) -> None:
    """Send a request when the last one is answered. A stall delays the next request, too."""
    for number in numbers:
        _request(driver, number, 0, recorder)


def pipeline(driver: Driver, numbers: Iterator[int], in_flight: int, recorder: Recorder) -> None:
    """Keep *in_flight* requests under way. One counts as sent when the client takes it up."""
    tally = recorder.tally
    under_way: dict[int, int] = {}

    def sending() -> Iterator[int]:
        for number in numbers:
            tally.made += 1
            under_way[number] = now()
            yield number

    try:
        for number, is_right in driver.pipeline(sending(), in_flight):
            sent_ns = under_way.pop(number, 0)
            if sent_ns:
                recorder.answered(sent_ns, sent_ns, now(), is_right)
            else:
                tally.duplicates += 1
    except LabError as error:
        tally.failed[error.code] += len(under_way)


def open_loop(
    driver: Driver,
    take: Callable[[], int],
    due_ns: Sequence[int],
    start_ns: int,
    recorder: Recorder,
    send: Callable[[int, int, Recorder], None] | None = None,
) -> None:
    """Send each request that *take* gives when it is due, however long the others took.

    A late request is sent at once. Its response time counts from when it was due. No request is skipped or
    put off, so a stall shows in every request that it delayed. *send* sends it without a wait for its answer.
    """
    while (number := take()) < len(due_ns):
        planned_ns = start_ns + due_ns[number]
        wait_ns = planned_ns - now()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        if send:
            send(number, planned_ns, recorder)
        else:
            _request(driver, number, planned_ns, recorder)


def open_pipeline(
    driver: Driver,
    take: Callable[[], int],
    due_ns: Sequence[int],
    start_ns: int,
    recorder: Recorder,
) -> None:
    """Do as :func:`open_loop` does, but send what is due by now without waiting for each answer.

    A caller waits for the answers of what it sent, while others send what becomes due meanwhile.
    """
    number = take()
    while number < len(due_ns):
        wait_ns = start_ns + due_ns[number] - now()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        number = _burst(driver, number, take, due_ns, start_ns, recorder)


def _burst(
    driver: Driver,
    number: int,
    take: Callable[[], int],
    due_ns: Sequence[int],
    start_ns: int,
    recorder: Recorder,
) -> int:
    """Send *number*, and what else is due until then, in one pipeline; return the number after them."""
    under_way: dict[int, int] = {}

    def due_by_now() -> Iterator[int]:
        nonlocal number
        while number < len(due_ns) and len(under_way) < PIPELINED:
            sent_ns = now()
            if start_ns + due_ns[number] > sent_ns:
                return
            recorder.tally.made += 1
            under_way[number] = sent_ns
            sending, number = number, take()
            yield sending

    answered = 0
    try:
        for each, is_right in driver.pipeline(due_by_now(), PIPELINED):
            answered += 1
            recorder.answered(start_ns + due_ns[each], under_way[each], now(), is_right)
    except LabError as error:
        recorder.tally.failed[error.code] += len(under_way) - answered
    return number


def _request(driver: Driver, number: int, planned_ns: int, recorder: Recorder) -> None:
    """Make a request and note what becomes of it; *planned_ns* 0: it was planned when it is sent."""
    tally = recorder.tally
    tally.made += 1
    sent_ns = now()
    try:
        is_right = driver.request(number)
    except LabError as error:
        tally.failed[error.code] += 1
    else:
        recorder.answered(planned_ns or sent_ns, sent_ns, now(), is_right)
