"""Load generators on other machines, and their windows put together.

No clock of one host is compared with another's: each host's times are counted from the start of its own
window, and those durations are merged. That the windows begin some milliseconds apart only shortens the time
in which all send.
"""

import pickle
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Self

from harness.load.generator import Window
from harness.load.measure import ANSWER_SECONDS, WARM_UP, Answer, Generators, Order, Start, shares
from harness.load.subject import Subject
from harness.record.recorder import Tally, keeping
from harness.record.summary import Measurement, summarise
from lab.errors import LabError, error_from
from lab.process.launcher import ProcessSpec
from machines.far import Machines
from machines.launcher import FarHandle

GENERATOR = ProcessSpec("generator", "harness.load.far_process")


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
    return window if window.due_ns is None else replace(window, due_ns=window.due_ns[place::count])


def _error(answer: tuple[str, str]) -> LabError:
    return error_from(*answer)
