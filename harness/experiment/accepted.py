"""Accepted to completed: texts are submitted for background work, and found again in the result list."""

import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from harness.analysis.validity import objections
from harness.experiment.bench import Bench
from harness.load.loops import now
from harness.probes.resources import meter
from harness.record.recorder import RawFile, Recorder
from harness.record.run import Point
from harness.record.summary import summarise
from lab.contract import InsultFilter
from lab.errors import LabError
from lab.process.system import System

ROUND = 400
"""Texts submitted before their results are waited for: a page of the result list holds them all."""
SUSPECT_SECONDS = 20.0
LOOK_SECONDS = 0.002

Waiting = dict[str, tuple[int, str]]
"""By id: when the text was submitted, and what must become of it."""


def accepted_to_completed(bench: Bench, system: System, clients: int, seconds: float) -> Point:
    """Submit rounds of texts with *clients* at once; a text is done when it is seen in the result list."""
    with ExitStack() as stack:
        folder = bench.raw or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        raw_path = folder / f"accepted-{time.time_ns()}-{os.getpid()}.i64"
        raw = stack.enter_context(closing(RawFile(raw_path)))
        connected = [stack.enter_context(system.filter()) for _ in range(clients)]
        recorder = Recorder(raw)
        warm_up = Recorder(stack.enter_context(closing(RawFile(Path(os.devnull)))))
        _round(connected, bench.workload.pool(), warm_up)  # discarded
        spent_there = meter(system, bench.brokers)
        stack.enter_context(spent_there)
        spent = time.process_time()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not recorder.tally.lost:
            _round(connected, bench.workload.pool(), recorder)
        recorder.tally.cpu_seconds = time.process_time() - spent
        recorder.flush()
    measured = summarise(recorder.tally, [raw_path])
    return Point(
        "accepted",
        system.spec.middleware,
        system.spec.architecture,
        len(system.nodes),
        clients,
        ROUND // clients,
        measured,
        usage=spent_there.usage,
        objections=objections(measured, processes=1),
    )


def _round(clients: Sequence[InsultFilter], pool: Sequence[tuple[str, str]], recorder: Recorder) -> None:
    waiting: Waiting = {}
    lock = threading.Lock()

    def submit(client: InsultFilter, texts: Sequence[tuple[str, str]]) -> None:
        for text, expected in texts:
            sent_ns = now()
            try:
                petition_id = client.submit(text)
            except LabError as error:
                with lock:
                    recorder.tally.failed[error.code] += 1
                continue
            with lock:
                waiting[petition_id] = (sent_ns, expected)

    start = recorder.tally.made
    chosen = [pool[(start + index) % len(pool)] for index in range(ROUND)]
    threads = [
        threading.Thread(target=submit, args=(client, chosen[index :: len(clients)]))
        for index, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.tally.made += ROUND
    _collect(clients[0], waiting, recorder)


def _collect(reader: InsultFilter, waiting: Waiting, recorder: Recorder) -> None:
    """Look at the newest results until all that wait are there. Those that stay away are lost."""
    deadline = time.monotonic() + SUSPECT_SECONDS
    doubled: set[str] = set()
    while waiting and time.monotonic() < deadline:
        page = reader.get_results()
        done_ns = now()
        ids = Counter(result.petition_id for result in page)
        doubled |= {petition_id for petition_id, count in ids.items() if count > 1}
        for petition_id, text in page:
            if petition_id in waiting:
                sent_ns, expected = waiting.pop(petition_id)
                recorder.answered(sent_ns, sent_ns, done_ns, text == expected)
        if waiting:
            time.sleep(LOOK_SECONDS)
    recorder.tally.duplicates += len(doubled)
