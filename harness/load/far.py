"""Load generators on other machines, and their windows put together.

``python -m harness.load.far`` is the process of one machine: the load generators of a run on one
machine, asked over a local socket. No clock of one host is compared with another's: each host counts
from the start of its own window, and those durations are merged. That the windows begin some
milliseconds apart only shortens the time in which all send.
"""

import json
import os
import pickle
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Self

import numpy as np

from harness.load.generator import Window
from harness.load.measure import (
    ANSWER_SECONDS,
    WARM_UP,
    Answer,
    Generators,
    LocalGenerators,
    Order,
    Start,
    shares,
)
from harness.load.workload import Subject
from harness.record.ledger import Tally, keeping
from harness.record.measurement import Measurement, summarise
from lab.errors import LabError, error_from
from lab.process.launcher import ProcessSpec
from lab.process.node import die_with
from lab.settings import settings
from machines.cluster import Machines
from machines.launcher import FarHandle

GENERATOR = ProcessSpec("generator", "harness.load.far")


class FarGenerators(Generators):
    """As :class:`LocalGenerators`, one process on every one of *machines*."""

    def __init__(
        self,
        machines: Machines,
        subject: Subject,
        clients: int,
        *,
        in_flight: int = 1,
        raw: Path | None = None,
    ) -> None:
        parts = shares(clients, len(machines))
        super().__init__(clients, in_flight, [machine.host for machine in machines[: len(parts)]])
        self._scratch = tempfile.TemporaryDirectory(prefix="lab-raw-")
        self._raw = raw or Path(self._scratch.name)
        self._windows = 0
        self._starts = [
            Start(subject, part, sum(parts[:place]), in_flight, WARM_UP) for place, part in enumerate(parts)
        ]
        self._launcher = machines.launcher()
        self._handles: list[FarHandle] = []
        try:
            for _ in parts:
                self._handles.append(self._launcher.spawn(GENERATOR))
        except BaseException:
            self.close()
            raise

    @property
    def processes(self) -> int:
        return len(self._handles)

    def wait_ready(self) -> Self:
        try:
            for handle in self._handles:
                self._launcher.wait_ready(handle)
            self._ask(self._starts)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        self._launcher.close()
        self._scratch.cleanup()

    @property
    def _folder(self) -> Path:
        return self._raw

    def _run(self, window: Window, seconds: float = 0.0, offered: float | None = None) -> Measurement:
        self._windows += 1
        label = f"{time.time_ns()}-{self._windows}"
        total, raws = Tally(), []
        count = len(self._handles)
        for place, answer in enumerate(self._ask([_part(window, k, count) for k in range(count)], seconds)):
            total.add(answer.tally)
            raws.append(self._raw / f"{label}-{place}.i64")
            with keeping(self._raw):
                raws[-1].write_bytes(answer.times)
        return summarise(total, raws, offered)

    def _ask(self, orders: Sequence[Order], seconds: float = 0.0) -> list[Answer]:
        """Give each host its order, all at once; return what they answer."""
        limit = ANSWER_SECONDS + seconds

        def ask(handle: FarHandle, order: Order) -> Answer:
            question = pickle.dumps(order)
            packed = handle.machine.call("ask", handle.address, question, timeout_seconds=limit)
            answer = pickle.loads(packed)
            if not isinstance(answer, Answer):
                raise _error(answer)
            return answer

        with ThreadPoolExecutor(len(orders)) as pool:
            return list(pool.map(ask, self._handles, orders))


def _part(window: Window, place: int, count: int) -> Window:
    """Return the share of one host: of a plan every *count*-th request."""
    if window.due_ns is None:
        first, end = (window.requests * number // count for number in (place, place + 1))
        return replace(window, requests=end - first)
    return replace(window, due_ns=window.due_ns[place::count])


def _error(answer: tuple[str, str]) -> LabError:
    return error_from(*answer)


def main() -> int:
    die_with(settings().parent)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    generators: LocalGenerators | None = None
    try:
        with Listener(family="AF_UNIX") as listener:
            print(json.dumps({"ready": True, "address": listener.address, "pid": os.getpid()}), flush=True)
            while True:
                with listener.accept() as asker:
                    order: Order = pickle.loads(asker.recv_bytes())
                    if isinstance(order, Start):
                        generators = _started(order)
                    asker.send_bytes(pickle.dumps(_answer(generators, order)))
    finally:
        if generators:
            generators.close()


def _started(order: Start) -> LocalGenerators:
    return LocalGenerators(
        order.subject,
        order.clients,
        processes=1,
        in_flight=order.in_flight,
        warm_up=order.warm_up,
        first=order.first,
    )


def _answer(generators: LocalGenerators | None, order: Order) -> Answer | tuple[str, str]:
    """Return what came of *order*, or the code and the message of an error: not all can be pickled."""
    try:
        if generators is None or isinstance(order, Start):
            return _ready(generators)
        outcome = generators.run(order, order.seconds)
        times = b"".join(_from(outcome.start_ns, raw) for raw in outcome.raws)
        return Answer(outcome.tally, times)
    except LabError as error:
        return str(error.code), error.message


def _ready(generators: LocalGenerators | None) -> Answer:
    if generators:
        generators.wait_ready()
    return Answer(Tally())


def _from(start_ns: int, raw: Path) -> bytes:
    times = np.fromfile(raw, dtype=np.int64) - start_ns
    raw.unlink()
    return times.tobytes()


if __name__ == "__main__":
    raise SystemExit(main())
