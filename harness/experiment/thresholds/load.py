"""Client processes that send as fast as they are answered, one window after the other."""

import multiprocessing
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from multiprocessing.connection import Connection
from typing import Self

from harness.experiment.thresholds.wire import bytes_so_far

Run = Callable[[float], int]
"""Sends until ``time.perf_counter()`` is past the deadline; returns how many were answered rightly."""
Connect = Callable[[], AbstractContextManager[Run]]
"""Connects one client. It travels to a process of its own."""

CLIENTS = 4
WARM_UP_SECONDS = 0.3
START_SECONDS = 60.0
ANSWER_SECONDS = 60.0
"""Beyond a window's length, for what was under way when it ended."""


class SideFailed(Exception):
    """A side of a comparison failed: nothing may be concluded."""


class Load:
    """*clients* processes, connected and warmed up when entered; a context manager."""

    def __init__(self, connect: Connect, clients: int = CLIENTS) -> None:
        self._connect = connect
        self._clients = clients
        self._members: list[tuple[multiprocessing.process.BaseProcess, Connection]] = []
        self.rate = 0.0
        """Requests per second in the last window, or in the warm-up."""
        self.cpu_share = 0.0
        """Of a core that each process used in that window, on average."""

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        for _ in range(self._clients):
            ours, theirs = context.Pipe()
            process = context.Process(target=_client, args=(self._connect, theirs), daemon=True)
            process.start()
            theirs.close()
            self._members.append((process, ours))
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
        return [process.pid for process, _ in self._members if process.pid]

    def window(self, seconds: float) -> float:
        """Return the requests per second of all clients, from the first start to the last answer."""
        for _, pipe in self._members:
            pipe.send(seconds)
        answers = self._answers(seconds + ANSWER_SECONDS)
        done = sum(answer[0] for answer in answers)
        elapsed = max(answer[2] for answer in answers) - min(answer[1] for answer in answers)
        self.cpu_share = sum(answer[5] for answer in answers) / elapsed / len(answers)
        self.rate = done / elapsed
        return self.rate

    def bytes_per_request(self, seconds: float = WARM_UP_SECONDS) -> tuple[int, int]:
        """Return the bytes sent and received for a request; 0 where no connection stays open to be asked."""
        _, pipe = self._members[0]
        pipe.send(seconds)
        done, _, _, sent, received, _ = self._answer(pipe, seconds + ANSWER_SECONDS)
        return round(sent / max(1, done)), round(received / max(1, done))

    def close(self) -> None:
        """End the clients."""
        for _, pipe in self._members:
            pipe.close()
        for process, _ in self._members:
            process.join(5.0)
            if process.is_alive():
                process.kill()
                process.join()
        self._members.clear()

    def _answers(self, seconds: float) -> list[tuple[float, ...]]:
        deadline = time.monotonic() + seconds
        return [self._answer(pipe, deadline - time.monotonic()) for _, pipe in self._members]

    def _answer(self, pipe: Connection, seconds: float) -> tuple[float, ...]:
        try:
            if not pipe.poll(max(0.0, seconds)):
                raise SideFailed(f"a client is silent for {seconds:.0f} s")
            answer = pipe.recv()
        except (EOFError, OSError) as error:
            raise SideFailed("a client ended") from error
        if isinstance(answer, str):
            raise SideFailed(answer)
        return tuple(answer)


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
