"""The launcher that spreads processes over machines, in turn."""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lab.errors import LabError, Unavailable
from lab.limits import DRAIN_SECONDS
from lab.process.launcher import READY_SECONDS, SHARE_SECONDS, Handle, ProcessSpec

LOOK_SECONDS = 0.2
MARGIN_SECONDS = 5.0
"""How much longer we wait for an answer than the machine waits itself."""
NOT_PASSED_ON = frozenset({"LAB_PARENT"})


class Place(Protocol):
    """A machine, as far as a launcher needs it."""

    host: str
    is_lost: bool

    def call(self, method: str, *arguments: object, timeout_seconds: float = ...) -> Any:
        """Ask what runs there."""


@dataclass(slots=True, eq=False)
class FarHandle:
    """A process on a machine, where it is known by its *number*."""

    spec: ProcessSpec
    machine: Place
    number: int
    pid: int
    address: str = ""
    told_to_stop: bool = False


class DaskLauncher:
    """A ``lab.process.launcher.Launcher`` over *machines*: each role starts at the first one and goes round.

    What it starts listens at its machine's address, and has our ``LAB_*`` settings. The processes of a lost
    machine count as killed.
    """

    def __init__(self, machines: Sequence[Place]) -> None:
        self._machines = machines
        self._handles: list[FarHandle] = []
        self._started: defaultdict[str, int] = defaultdict(int)

    def start(self, spec: ProcessSpec) -> FarHandle:
        handle = self.spawn(spec)
        self.wait_ready(handle)
        return handle

    def spawn(self, spec: ProcessSpec) -> FarHandle:
        machines = [machine for machine in self._machines if not machine.is_lost]
        if not machines:
            raise Unavailable("all machines are lost")
        machine = machines[self._started[spec.name] % len(machines)]
        self._started[spec.name] += 1
        ours = {n: v for n, v in os.environ.items() if n.startswith("LAB_") and n not in NOT_PASSED_ON}
        placed = replace(
            spec,
            arguments=("--host", machine.host, *spec.arguments),
            environment={**ours, **spec.environment},
        )
        number, pid = machine.call("spawn", placed)
        handle = FarHandle(spec, machine, int(number), int(pid))
        self._handles.append(handle)
        return handle

    def wait_ready(self, handle: Handle) -> None:
        own = _own(handle)
        limit = READY_SECONDS + MARGIN_SECONDS
        own.address = str(own.machine.call("wait_ready", own.number, timeout_seconds=limit))

    def wait(self, handle: Handle) -> int:
        while (code := self._ended(handle)) is None:
            time.sleep(LOOK_SECONDS)
        return code

    def stop(self, handle: Handle, timeout_seconds: float = DRAIN_SECONDS) -> int:
        own = _own(handle)
        own.told_to_stop = True
        limit = timeout_seconds + MARGIN_SECONDS
        return int(own.machine.call("stop", own.number, timeout_seconds, timeout_seconds=limit))

    def kill(self, handle: Handle) -> None:
        own = _own(handle)
        own.machine.call("kill", own.number)

    def alive(self, handle: Handle) -> bool:
        return self._ended(handle) is None

    def logs(self, handle: Handle) -> str:
        own = _own(handle)
        return str(own.machine.call("logs", own.number))

    def spent(self) -> dict[str, tuple[float, float]]:
        """Return CPU seconds and MiB of memory by role."""
        found: dict[str, tuple[float, float]] = {}
        for machine in self._machines:
            ours = [handle for handle in self._handles if handle.machine is machine]
            rows = machine.call("spent", [handle.number for handle in ours]) if ours else []
            for handle, (cpu, memory) in zip(ours, rows, strict=True):
                before = found.get(handle.spec.name, (0.0, 0.0))
                found[handle.spec.name] = (before[0] + cpu, before[1] + memory)
        return found

    def close(self) -> None:
        """Stop all processes, the last role first. Those of a lost machine end with its lease."""
        deadline = time.monotonic() + DRAIN_SECONDS
        names = list(dict.fromkeys(handle.spec.name for handle in self._handles))
        for left in reversed(range(len(names))):
            role = [handle for handle in self._handles if handle.spec.name == names[left]]
            seconds = max(0.1, deadline - time.monotonic() - left * SHARE_SECONDS)
            with ThreadPoolExecutor(len(role)) as pool:
                list(pool.map(lambda handle: self._stopped(handle, seconds), role))  # noqa: B023 (at once)
        self._handles.clear()

    def _stopped(self, handle: FarHandle, seconds: float) -> None:
        with suppress(LabError):
            self.stop(handle, seconds)

    def _ended(self, handle: Handle) -> int | None:
        own = _own(handle)
        try:
            code = own.machine.call("ended", own.number)
        except Unavailable:
            return -signal.SIGKILL
        return None if code is None else int(code)


def _own(handle: Handle) -> FarHandle:
    if not isinstance(handle, FarHandle):
        raise TypeError(f"{handle!r} was not started on a machine")
    return handle
