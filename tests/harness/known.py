"""Servers of known behaviour, to test the harness against: what it says of them can be checked.

As a program it spends three parts of its CPU time in one function and one in another; one thread only waits.
"""

import hashlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.sharedctypes import Synchronized

from harness.load.generator import now
from harness.load.workload import Driver

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class KnownServer:
    """One server with a queue: each request occupies it for *service_seconds*, one after the other.

    It stands still from *stall_at_seconds* after its first request on, for *stall_seconds*. A share of the
    requests is lost, answered twice or answered wrongly; these need a pipeline, where a client does not wait
    for each. *burn_seconds* of CPU time are spent by the client, not by the server, on each request.
    """

    free_ns: "Synchronized[int]"
    """When the server has worked off its queue; shared by the processes of all load generators."""
    first_ns: "Synchronized[int]"
    service_seconds: float = 0.0
    stall_at_seconds: float = 0.0
    stall_seconds: float = 0.0
    lost: float = 0.0
    duplicated: float = 0.0
    corrupted: float = 0.0
    burn_seconds: float = 0.0

    def connect(self) -> Driver:
        return _Driver(self)

    def serve(self) -> None:
        """Wait until the server has worked on a request."""
        with self.free_ns.get_lock():
            arrived = now()
            self.first_ns.value = self.first_ns.value or arrived
            begun = max(arrived, self.free_ns.value)
            stalled = self.first_ns.value + int(self.stall_at_seconds * NANOSECONDS)
            resumed = stalled + int(self.stall_seconds * NANOSECONDS)
            if stalled <= begun < resumed:
                begun = resumed
            done = self.free_ns.value = begun + int(self.service_seconds * NANOSECONDS)
        wait_ns = done - now()
        if wait_ns > 0:
            time.sleep(wait_ns / NANOSECONDS)


def known_server(**behaviour: float) -> KnownServer:
    """Return a server of the *behaviour* that :class:`KnownServer` lists."""
    context = get_context("spawn")
    return KnownServer(context.Value("q", 0), context.Value("q", 0), **behaviour)


class _Driver:
    def __init__(self, server: KnownServer) -> None:
        self._server = server
        self._chance = random.Random(1)

    def request(self, number: int) -> bool:
        self._burn()
        self._server.serve()
        return True

    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        server = self._server
        for number in numbers:
            self._burn()
            luck = self._chance.random()
            if luck < server.lost:
                continue
            is_right = not server.lost <= luck < server.lost + server.corrupted
            yield number, is_right
            if luck > 1 - server.duplicated:
                yield number, True

    def close(self) -> None:
        """Nothing to free."""

    def _burn(self) -> None:
        end = time.thread_time() + self._server.burn_seconds
        while time.thread_time() < end:
            pass


DATA = bytes(100_000)


def three_parts() -> None:
    """Compute in Python for 30 ms of CPU time."""
    end = time.thread_time() + 0.03
    while time.thread_time() < end:
        sum(range(500))


def one_part() -> None:
    """Compute in C, outside the interpreter's lock, for 10 ms of CPU time."""
    end = time.thread_time() + 0.01
    while time.thread_time() < end:
        hashlib.sha256(DATA)


def waits(stream: socket.socket) -> None:
    """Wait for what never comes."""
    stream.recv(1)


if __name__ == "__main__":
    ends = socket.socketpair()
    threading.Thread(target=waits, args=(ends[0],), daemon=True).start()
    print("{}", flush=True)
    while True:
        three_parts()
        one_part()
        time.sleep(0.005)
