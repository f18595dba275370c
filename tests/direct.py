"""What the fault tests of the two direct middlewares share: load whose every answer is kept, and faults."""

import os
import random
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from lab.contract import Architecture, InsultService, Target
from lab.errors import LabError, Unavailable
from lab.middlewares import MIDDLEWARES
from lab.process.launcher import Handle, ProcessSpec
from lab.process.system import System
from tests.eventually import eventually

DEADLINE_SECONDS = 5.0
GRACE_SECONDS = 2.0
"""What a call may take beyond its deadline on a machine that is busy."""


@dataclass
class Load:
    """Clients that add insults of their own, each until told to stop; what they were told is kept."""

    acknowledged: set[str] = field(default_factory=set)
    attempted: set[str] = field(default_factory=set)
    repeated: list[str] = field(default_factory=list)
    """Insults that were there already, though nobody else adds them: an effect that happened twice."""
    errors: list[LabError] = field(default_factory=list)
    slowest_seconds: float = 0.0
    stopping: bool = False

    def work(self, client: InsultService, name: str) -> None:
        """Add insults through *client* until :attr:`stopping`."""
        number = 0
        while not self.stopping:
            number += 1
            self.add(client, f"{name} {number}")
            time.sleep(0.002)

    def add(self, client: InsultService, insult: str) -> None:
        """Add one insult and keep what came of it."""
        self.attempted.add(insult)
        began = time.monotonic()
        try:
            if client.add_insult(insult):
                self.acknowledged.add(insult)
            else:
                self.repeated.append(insult)
        except LabError as error:
            self.errors.append(error)
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)

    def assert_sound(self, cluster: System) -> None:
        """Nothing acknowledged is lost, nothing came twice, nobody waited beyond the deadline."""
        stored = set(all_insults(cluster))
        assert not self.acknowledged - stored
        assert not stored - self.attempted
        assert not self.repeated
        assert self.slowest_seconds < DEADLINE_SECONDS + GRACE_SECONDS

    def say(self, what: str) -> None:
        """Print the figures."""
        told = f"{len(self.acknowledged)} of {len(self.attempted)} acknowledged, {len(self.errors)} errors"
        print(f"{what}: {told}, slowest call {self.slowest_seconds:.2f} s")


@contextmanager
def loaded(cluster: System, clients: int = 4, target: Target | None = None) -> Iterator[Load]:
    """Let *clients* add insults until the block ends; all of them have been answered when it begins."""
    load = Load()
    with ExitStack() as stack:
        connected = [
            stack.enter_context(cluster.middleware.service_client(target or cluster.target, DEADLINE_SECONDS))
            for _ in range(clients)
        ]
        threads = [
            threading.Thread(target=load.work, args=(client, f"{secrets.token_hex(4)} {number}"))
            for number, client in enumerate(connected)
        ]
        for thread in threads:
            thread.start()
        try:
            progress(load, 5 * clients)
            yield load
        finally:
            load.stopping = True
            for thread in threads:
                thread.join(DEADLINE_SECONDS + 5)


def progress(load: Load, more: int, within: float = 15.0) -> None:
    """Wait until *more* insults are acknowledged."""
    wanted = len(load.acknowledged) + more
    eventually(lambda: len(load.acknowledged) >= wanted, within=within)


def all_insults(cluster: System) -> list[str]:
    """Read every insult, page by page."""
    found: list[str] = []
    with cluster.service(10.0) as client:
        while page := client.get_insults(found[-1] if found else ""):
            found += page
    return found


@contextmanager
def frozen(node: Handle) -> Iterator[None]:
    """Stop the process of *node*, and let it go on at the end (SIGSTOP, SIGCONT)."""
    os.kill(node.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(node.pid, signal.SIGCONT)


def kill_and_restart_master(cluster: System) -> float:
    """Kill the master, start it again; return how long it then takes until clients are served, in seconds."""
    master = cluster.handles["master"][0]
    cluster.launcher.kill(master)
    began = time.monotonic()
    with suppress(LabError), cluster.service(1.0) as client:
        client.insult_me()
    assert time.monotonic() - began < 1.0 + GRACE_SECONDS, "a new client hung while the master was away"
    cluster.handles["master"] = [cluster.launcher.start(master.spec)]
    ready = time.monotonic()
    eventually(lambda: _is_served(cluster), within=15.0)
    return time.monotonic() - ready


def _is_served(cluster: System) -> bool:
    with suppress(LabError), cluster.service(1.0) as client:
        client.get_insults()
        return True
    return False


def drain_under_load(cluster: System) -> float:
    """Stop a node by SIGTERM while it is asked; return how long it took to end, in seconds."""
    began = time.monotonic()
    assert cluster.launcher.stop(cluster.nodes[0], timeout_seconds=15.0) == 0
    return time.monotonic() - began


def one_node_at(middleware: str, address: str) -> InsultService:
    """Connect a client of one node to *address*."""
    return MIDDLEWARES[middleware].service_client(Target(address, Architecture.ONE_NODE), DEADLINE_SECONDS)


def seed() -> int:
    """Draw a seed and print it, so that a failure can be repeated."""
    drawn = random.randrange(2**32)
    print(f"seed {drawn}")
    return drawn


def port_of(handle: Handle) -> int:
    """Return the port at which a process listens."""
    return int(handle.address.rpartition(":")[2])


@contextmanager
def crowd(port: int, silent: int, slow: int = 0, request: bytes = b"") -> Iterator[list[socket.socket]]:
    """Hold *silent* connections that say nothing, and *slow* ones that send *request* a byte at a time."""
    stopping = threading.Event()
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 10.0))
            for _ in range(silent + slow)
        ]

        def trickle() -> None:
            for place in range(len(request)):
                if stopping.wait(0.05):
                    return
                for connection in connections[silent:]:
                    with suppress(OSError):
                        connection.send(request[place : place + 1])

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            yield connections
        finally:
            stopping.set()
            thread.join()


def refused(system: System, spec: ProcessSpec) -> str:
    """Start *spec*, which must end with exit code 2; return the one line that it says."""
    handle = system.launcher.spawn(spec)
    with pytest.raises(Unavailable) as failure:
        system.launcher.wait_ready(handle)
    assert system.launcher.wait(handle) == 2
    assert "Traceback" not in system.launcher.logs(handle)
    [line] = failure.value.message.splitlines()
    return line
