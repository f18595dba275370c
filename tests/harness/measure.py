"""Drive a running system with generator processes and say how fast it answered."""

import math
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from lab.contract import Application, Target
from lab.errors import InternalError, LabError
from tests.harness.generator import Job, run_generator
from tests.harness.samples import Samples, Window
from tests.harness.workload import Workload

ANSWER_SECONDS = 120.0
ENOUGH_FOR_P99 = 368
"""Samples below which a 99th percentile says nothing (design, section 9.2)."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One window. *throughput* is None when a request was lost or answered wrongly: it would mean nothing."""

    made: int
    done: int
    wrong: int
    failed: dict[str, int]
    seconds: float
    throughput: float | None
    p50_ms: float | None
    p99_ms: float | None
    """None with fewer than 368 samples."""


class Generators:
    """*processes* generators with *clients* in all, connected and warm; a context manager."""

    def __init__(
        self,
        middleware: str,
        target: Target,
        workload: Workload,
        clients: int,
        *,
        processes: int = 1,
        in_flight: int = 1,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes = []
        self._pipes = []
        pool = workload.pool() if workload.application is Application.FILTER else []
        for share in _shares(clients, processes):
            ours, theirs = context.Pipe()
            job = Job(middleware, target, workload.application, pool, share, in_flight)
            process = context.Process(target=run_generator, args=(job, theirs), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    def __enter__(self) -> Self:
        try:
            for answer in self._answers():
                if answer != "ready":
                    raise InternalError("generator", f"a load generator said {answer!r}")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, window: Window) -> Measurement:
        """Send for *window* with all clients at once; return what came of it."""
        for pipe in self._pipes:
            pipe.send(window)
        samples = Samples()
        for answer in self._answers(ANSWER_SECONDS + window.seconds):
            if not isinstance(answer, Samples):
                raise InternalError("generator", f"a load generator said {answer!r}")
            samples.add(answer)
        return summarise(samples, window)

    def close(self) -> None:
        """End the generators."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(2.0)
            if process.is_alive():
                process.kill()
                process.join()

    def _answers(self, timeout_seconds: float = ANSWER_SECONDS) -> list[object]:
        deadline = time.monotonic() + timeout_seconds
        answers: list[object] = []
        for pipe in self._pipes:
            try:
                if not pipe.poll(max(0.0, deadline - time.monotonic())):
                    raise InternalError("generator", f"a load generator is silent for {timeout_seconds:g} s")
                answer = pipe.recv()
            except EOFError as error:
                raise InternalError("generator", "a load generator ended; its error stands above") from error
            if isinstance(answer, LabError):
                raise answer
            answers.append(answer)
        return answers


def summarise(samples: Samples, window: Window) -> Measurement:
    """Return the figures of *samples*: throughput over the time that the requests took, and percentiles."""
    seconds = (max(samples.done) - min(samples.sent)) / 1e9 if samples.done else 0.0
    is_whole = samples.made == len(samples.done) and seconds > 0
    times_ms = sorted((done - sent) / 1e6 for sent, done in zip(samples.sent, samples.done, strict=True))
    return Measurement(
        made=samples.made,
        done=len(samples.done),
        wrong=samples.wrong,
        failed=dict(samples.failed),
        seconds=seconds,
        throughput=len(samples.done) / seconds if is_whole else None,
        p50_ms=_percentile(times_ms, 0.5) if times_ms else None,
        p99_ms=_percentile(times_ms, 0.99) if len(times_ms) >= ENOUGH_FOR_P99 else None,
    )


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least *share* of the *ordered* ones do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _shares(clients: int, processes: int) -> list[int]:
    """Divide *clients* among *processes* as evenly as can be."""
    processes = min(clients, processes)
    return [clients // processes + (index < clients % processes) for index in range(processes)]
