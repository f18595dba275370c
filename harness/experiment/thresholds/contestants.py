"""The contestants of a comparison: client processes, their windows in turn, and the bytes they exchange."""

import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol, Self

from harness.load.measure import Processes
from lab.errors import LabError
from lab.process.launcher import LocalLauncher, ProcessSpec
from lab.process.system import BrokerUrls

_TCP_INFO_BYTES = 136
_COUNTS_AT = 120
"""Where tcp_info of linux/tcp.h has tcpi_bytes_acked and tcpi_bytes_received."""


def bytes_so_far() -> tuple[int, int]:
    """Return the bytes sent and received by all TCP connections that this process has open; 0 elsewhere."""
    sent = received = 0
    for descriptor in _descriptors():
        with suppress(OSError, struct.error):
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as one:
                if one.family not in (socket.AF_INET, socket.AF_INET6) or one.type != socket.SOCK_STREAM:
                    continue
                info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
            acknowledged, arrived = struct.unpack_from("QQ", info, _COUNTS_AT)
            sent, received = sent + acknowledged, received + arrived
    return sent, received


def _descriptors() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return []


Run = Callable[[float], int]
"""Sends until ``time.perf_counter()`` is past the deadline; returns how many were answered rightly."""
Connect = Callable[[], AbstractContextManager[Run]]
"""Connects one client. It travels to a process of its own."""

CLIENTS = 4
WARM_UP_SECONDS = 0.3
START_SECONDS = 60.0
ANSWER_SECONDS = 60.0
"""Beyond a window's length, for what was under way when it ended."""


class ContestantFailed(Exception):
    """A side of a comparison failed: nothing may be concluded."""


class ClientProcesses:
    """*clients* processes that send as fast as they are answered; connected and warm when entered."""

    def __init__(self, connect: Connect, clients: int = CLIENTS) -> None:
        self._connect = connect
        self._clients = clients
        self._processes = Processes("client")
        self.rate = 0.0
        """Requests per second in the last window, or in the warm-up."""
        self.cpu_share = 0.0
        """Of a core that each process used in that window, on average."""

    def __enter__(self) -> Self:
        for _ in range(self._clients):
            self._processes.start(_client, self._connect)
        try:
            self._answers(START_SECONDS)
            self.window(WARM_UP_SECONDS)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """The process ids of the clients."""
        return self._processes.pids

    def window(self, seconds: float) -> float:
        """Return the requests per second of all clients, from the first start to the last answer."""
        self._processes.tell([seconds] * self._clients)
        answers = self._answers(seconds + ANSWER_SECONDS)
        done = sum(answer[0] for answer in answers)
        elapsed = max(answer[2] for answer in answers) - min(answer[1] for answer in answers)
        self.cpu_share = sum(answer[5] for answer in answers) / elapsed / len(answers)
        self.rate = done / elapsed
        return self.rate

    def bytes_per_request(self, seconds: float = WARM_UP_SECONDS) -> tuple[int, int]:
        """Return the bytes sent and received for a request; 0 where no connection stays open to be asked."""
        self._processes.tell([seconds])
        [(done, _, _, sent, received, _)] = self._answers(seconds + ANSWER_SECONDS, 1)
        return round(sent / max(1, done)), round(received / max(1, done))

    def close(self) -> None:
        """End the clients."""
        self._processes.close(grace_seconds=5.0)

    def _answers(self, seconds: float, count: int | None = None) -> list[tuple[float, ...]]:
        try:
            answers = self._processes.answers(seconds, count)
        except LabError as error:
            raise ContestantFailed(error.message) from error
        for answer in answers:
            if isinstance(answer, str):
                raise ContestantFailed(answer)
        return answers


def _client(connect: Connect, pipe: Connection) -> None:
    """Run a window for each number of seconds that *pipe* brings; what fails is told."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes the pipe
    try:
        with connect() as run:
            pipe.send(())
            while True:
                seconds = pipe.recv()
                before, cpu, begun = bytes_so_far(), time.process_time(), time.perf_counter()
                done = run(begun + seconds)
                ended, spent, after = time.perf_counter(), time.process_time() - cpu, bytes_so_far()
                pipe.send((done, begun, ended, after[0] - before[0], after[1] - before[1], spent))
    except EOFError:
        pass  # the parent needs no more
    except Exception as error:  # noqa: BLE001 - whatever it is, this side has failed
        with suppress(OSError):  # the parent was interrupted, and reads no more
            pipe.send(f"{type(error).__name__}: {error}")


Rates = dict[str, list[float]]
YARDSTICK_START_SECONDS = 60.0


class Contestant(Protocol):
    """Something whose rate is measured, started already."""

    def window(self, seconds: float) -> float:
        """Return its requests per second over a window; ContestantFailed if it cannot be trusted."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a run measures: *pairs* of windows of *seconds*, against the plain reference or a *yardstick*."""

    brokers: BrokerUrls
    seconds: float
    pairs: int
    is_full: bool = False
    yardstick: Path | None = None
    corpus: Path | None = None


@dataclass(frozen=True, slots=True)
class Yardstick:
    """A program like the plain reference: it takes ``--clients``, ``--seconds`` and the middleware's name,
    and prints a JSON object of requests per second, its start-up excluded."""

    path: Path
    middleware: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def window(self, seconds: float) -> float:
        """Run it once, with processes of its own."""
        options = ["--clients", str(CLIENTS), "--seconds", str(seconds), self.middleware]
        try:
            done = subprocess.run(
                [sys.executable, str(self.path), *options],
                env={**os.environ, **self.environment},
                capture_output=True,
                text=True,
                timeout=seconds + YARDSTICK_START_SECONDS,
                check=True,
            )
            return float(json.loads(done.stdout)[self.middleware])
        except subprocess.CalledProcessError as error:
            raise ContestantFailed(
                f"{self.path.name} {self.middleware}: {error.stderr.strip()[-200:]}"
            ) from error
        except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
            raise ContestantFailed(f"{self.path.name} {self.middleware}: {error!r}") from error


def alternate(sides: Mapping[str, Contestant], pairs: int, seconds: float) -> Rates:
    """Measure a window of each side, *pairs* times, in turning order, so that a drift favours none."""
    rates: Rates = {name: [] for name in sides}
    for number in range(pairs):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            try:
                rate = sides[name].window(seconds)
            except ContestantFailed as error:
                raise ContestantFailed(f"{name}: {error}") from error
            if not rate > 0:
                raise ContestantFailed(f"{name}: no request was answered")
            rates[name].append(rate)
    return rates


def loaded(stack: ExitStack, connect: Connect, clients: int = CLIENTS) -> ClientProcesses:
    """Return connected, warm clients that end with *stack*."""
    return stack.enter_context(ClientProcesses(connect, clients))


def started(stack: ExitStack, module: str, *arguments: str) -> str:
    """Start a server that prints its address as JSON and knows nothing of the lab; it ends with *stack*."""
    launcher = stack.enter_context(LocalLauncher())
    under_parent = (str(os.getpid()), "SIGTERM", sys.executable, "-m", module, *arguments)
    return launcher.start(
        ProcessSpec(module.rpartition(".")[2], "lab.process.launcher", under_parent)
    ).address
