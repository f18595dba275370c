"""Processes that are given orders and answer them, each over a pipe to the process that started it."""

import multiprocessing
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

from lab.errors import InternalError, LabError


class Processes:
    """They end with :meth:`close`, or with the process that started them. *what*: their name in errors."""

    def __init__(self, what: str) -> None:
        self.context: SpawnContext = multiprocessing.get_context("spawn")
        self._what = what
        self._members: list[tuple[BaseProcess, Connection]] = []

    def __len__(self) -> int:
        return len(self._members)

    @property
    def pids(self) -> list[int]:
        """Their process ids."""
        return [process.pid for process, _ in self._members if process.pid]

    def start(self, target: Callable[..., None], *arguments: object) -> None:
        """Start one more; it runs *target* with *arguments* and its end of the pipe."""
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=target, args=(*arguments, theirs), daemon=True)
        process.start()
        theirs.close()
        self._members.append((process, ours))

    def tell(self, orders: Iterable[object]) -> None:
        """Give each its order; the first order is for the one that was started first."""
        for (_, pipe), order in zip(self._members, orders, strict=False):
            try:
                pipe.send(order)
            except OSError as error:
                raise InternalError(self._what, f"a {self._what} ended; its error stands above") from error

    def answers(self, timeout_seconds: float, count: int | None = None) -> list[Any]:
        """Return an answer of each, or of the first *count*, within *timeout_seconds* for all of them.

        InternalError if one ended or is silent. A LabError that one answers is raised.
        """
        deadline = time.monotonic() + timeout_seconds
        found = []
        for _, pipe in self._members[:count]:
            try:
                if not pipe.poll(max(0.0, deadline - time.monotonic())):
                    raise InternalError(self._what, f"a {self._what} is silent for {timeout_seconds:.0f} s")
                answer = pipe.recv()
            except (EOFError, OSError) as error:
                raise InternalError(self._what, f"a {self._what} ended; its error stands above") from error
            if isinstance(answer, LabError):
                raise answer
            found.append(answer)
        return found

    def close(self, grace_seconds: float = 2.0) -> None:
        """Let them end; kill those that still run after *grace_seconds* each. Twice does no harm."""
        for _, pipe in self._members:
            with suppress(OSError):
                pipe.close()
        for process, _ in self._members:
            process.join(grace_seconds)
            if process.is_alive():
                process.kill()
                process.join()
        self._members.clear()
