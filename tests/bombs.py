"""Small requests made to cost much: refused at once, and nobody else waits. The figures are printed."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lab.process.system import System
from tests.wire import BadInput, assert_refused

Answer = TypeVar("Answer")

BOMB_CPU_SECONDS = 0.3
"""What a test allows for a refusal that takes some ms."""
BOMB_SECONDS = 2.0
"""The same, or a wait, on a machine that is busy."""
BOMB_MEGABYTES = 10.0
_KIB = 1024


class Bombs(BadInput):
    """What is made to cost much is refused at once."""

    def test_what_is_bad_gets_its_code_and_the_node_goes_on(  # type: ignore[override]
        self, kind: tuple[Any, ...], request: pytest.FixtureRequest
    ) -> None:
        *sent, code = kind
        system = request.getfixturevalue(self.node)

        def send() -> str:
            with closing(self.wire(system)) as connection:
                return connection.refusal(*sent)

        refused, cost = cost_of(system, send)
        print(f"{system.spec.middleware} {request.node.callspec.id}: {cost}")
        assert_refused(refused, code)
        assert_cheap(cost)


@dataclass(frozen=True)
class Cost:
    """What a request cost the node, and others."""

    cpu_seconds: float
    """Of the node, with nothing else to do."""
    seconds: float
    others_seconds: float
    """The longest answer to another client meanwhile."""
    megabytes: float

    def __str__(self) -> str:
        times = [
            f"{1e3 * seconds:.1f} ms" for seconds in (self.cpu_seconds, self.seconds, self.others_seconds)
        ]
        return "{} of CPU, refused after {}, others waited {}".format(*times) + f", {self.megabytes:+.1f} MB"


def cost_of(system: System, send: Callable[[], Answer]) -> tuple[Answer, Cost]:
    """Return what *send* returns, and its cost; another client asks the node all the while."""
    pid = system.nodes[0].pid
    used = _cpu_seconds(pid)
    send()
    used = _cpu_seconds(pid) - used
    waits: list[float] = []
    stopping = threading.Event()
    with ExitStack() as stack:
        other = stack.enter_context(system.service(10.0))

        def ask() -> None:
            while not stopping.is_set():
                began = time.monotonic()
                other.get_insults()
                waits.append(time.monotonic() - began)

        thread = threading.Thread(target=ask)
        thread.start()
        before = _forget_peak(pid)
        began = time.monotonic()
        answer = send()
        seconds = time.monotonic() - began
        peak = _status(pid, "VmHWM")
        stopping.set()
        thread.join()
    return answer, Cost(used, seconds, max(waits), (peak - before) / _KIB)


def assert_cheap(cost: Cost) -> None:
    """The bomb went off in the sender's hand."""
    assert cost.cpu_seconds < BOMB_CPU_SECONDS
    assert cost.seconds < BOMB_SECONDS
    assert cost.others_seconds < BOMB_SECONDS
    assert cost.megabytes < BOMB_MEGABYTES


def _cpu_seconds(pid: int) -> float:
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text(encoding="ascii").split()[0]) for thread in threads) / 1e9


def _forget_peak(pid: int) -> int:
    """Let the kernel count the peak anew; return the memory that is used now, in KiB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    return _status(pid, "VmRSS")


def _status(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(f"{name}:")))
