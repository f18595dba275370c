"""The faults that every direct middleware must bear: the tests, and the load whose every answer is kept."""

import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest

from lab.contract import Application, Architecture, InsultService, Target
from lab.errors import LabError, Overloaded, Unavailable
from lab.process.launcher import Handle, ProcessSpec
from lab.process.system import System
from tests.conftest import StartSystem
from tests.eventually import eventually

DEADLINE_SECONDS = 5.0
GRACE_SECONDS = 2.0
"""What a call may take beyond its deadline on a machine that is busy."""
TEXTS = 30


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

    def assert_sound(self, system: System) -> None:
        """Nothing acknowledged is lost, nothing came twice, nobody waited beyond the deadline."""
        stored = set(all_insults(system))
        assert not self.acknowledged - stored
        assert not stored - self.attempted
        assert not self.repeated
        assert self.slowest_seconds < DEADLINE_SECONDS + GRACE_SECONDS

    def say(self, what: str) -> None:
        """Print the figures."""
        told = f"{len(self.acknowledged)} of {len(self.attempted)} acknowledged, {len(self.errors)} errors"
        print(f"{what}: {told}, slowest call {self.slowest_seconds:.2f} s")


@contextmanager
def loaded(system: System, clients: int = 4, target: Target | None = None) -> Iterator[Load]:
    """Let *clients* add insults until the block ends; all of them have been answered when it begins."""
    load = Load()
    with ExitStack() as stack:
        connected = [
            stack.enter_context(system.middleware.service_client(target or system.target, DEADLINE_SECONDS))
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


def all_insults(system: System) -> list[str]:
    """Read every insult, page by page."""
    found: list[str] = []
    with system.service(10.0) as client:
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


def kill_and_restart_master(system: System) -> float:
    """Kill the master, start it again; return how long it then takes until clients are served, in seconds."""
    master = system.handles["master"][0]
    system.launcher.kill(master)
    began = time.monotonic()
    with suppress(LabError), system.service(1.0) as client:
        client.insult_me()
    assert time.monotonic() - began < 1.0 + GRACE_SECONDS, "a new client hung while the master was away"
    system.handles["master"] = [system.launcher.start(master.spec)]
    ready = time.monotonic()
    eventually(lambda: _is_served(system), within=15.0)
    return time.monotonic() - ready


def _is_served(system: System) -> bool:
    with suppress(LabError), system.service(1.0) as client:
        client.get_insults()
        return True
    return False


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


def elsewhere(spec: ProcessSpec) -> ProcessSpec:
    """Return *spec* at a free port: its own is taken."""
    return replace(spec, arguments=(*spec.arguments, "--port", "0"))


class DirectFaults:
    """Masters that die, nodes that freeze and connections that say nothing, while clients work.

    tests/contract/test_nodes_die.py stops nodes under load.
    """

    middleware: ClassVar[str]
    half_a_request: ClassVar[bytes]
    """A request whose end is missing."""
    too_many: ClassVar[int]
    """So many connections that a node refuses one more."""

    def live(self, system: System) -> list[str]:
        """Return the addresses of the nodes that the master knows."""
        raise NotImplementedError

    def test_a_master_that_restarts_serves_soon_and_gives_no_name_twice(
        self, start_system: StartSystem
    ) -> None:
        system = start_system(self.middleware, Application.SERVICE, Architecture.N_NODE, nodes=2)
        with loaded(system) as load:
            seconds = kill_and_restart_master(system)
            progress(load, 20)
        load.say(f"{self.middleware}: clients served {seconds:.2f} s after the master's restart")
        assert not load.errors
        load.assert_sound(system)
        system.add_node()
        eventually(lambda: len(set(self.live(system))) == 3)
        assert sorted(self.live(system)) == sorted(node.address for node in system.nodes)

    def test_a_connection_too_many_is_told_so_and_the_node_goes_on(self, start_system: StartSystem) -> None:
        system = start_system(self.middleware, Application.SERVICE)
        with system.service() as client:
            with crowd(port_of(system.nodes[0]), self.too_many), pytest.raises(Overloaded):
                client.get_insults()
            assert eventually(lambda: client.get_insults() == [])

    def test_clients_leave_a_frozen_node_within_their_deadline(self, start_system: StartSystem) -> None:
        system = start_system(self.middleware, Application.SERVICE, Architecture.N_NODE, nodes=2)
        with loaded(system) as load:
            began = time.monotonic()
            with frozen(system.nodes[0]):
                progress(load, 400, within=30.0)
                eventually(lambda: load.slowest_seconds > 1.0)  # those of the frozen node have found another
            progress(load, 20)
        load.say(f"{self.middleware}, node frozen for {time.monotonic() - began:.1f} s")
        assert not load.errors
        load.assert_sound(system)

    def test_the_work_of_a_frozen_node_is_done_once_by_another(self, start_system: StartSystem) -> None:
        system = start_system(
            self.middleware,
            Application.FILTER,
            Architecture.N_NODE,
            nodes=2,
            node_arguments=("--work-time", "50ms"),
        )
        with system.filter(20.0) as client:
            ids = [client.submit(f"tonto {number}") for number in range(TEXTS)]
            began = time.monotonic()
            with frozen(system.nodes[0]):
                results = [client.result(petition_id, 20.0) for petition_id in ids]
                print(f"{self.middleware}, node frozen: all done after {time.monotonic() - began:.1f} s")
            assert results == [f"CENSORED {number}" for number in range(TEXTS)]
            assert client.submit("tonto")  # the node goes on
            eventually(lambda: len(client.get_results()) == TEXTS + 1)
            kept = {result.petition_id: result.text for result in client.get_results()}
        assert [kept[petition_id] for petition_id in ids] == results

    def test_silent_and_slow_connections_harm_nobody(self, start_system: StartSystem) -> None:
        system = start_system(self.middleware, Application.SERVICE, Architecture.N_NODE, nodes=1)
        for role in ("node", "master", "name_server"):
            for process in system.handles.get(role, []):
                with crowd(port_of(process), 500, 50, self.half_a_request), loaded(system, clients=4) as load:
                    progress(load, 200)
                load.say(f"{self.middleware}, 500 silent and 50 slow connections at the {role}")
                assert not load.errors
                assert not load.repeated
                assert load.slowest_seconds < DEADLINE_SECONDS

    def test_two_broadcasters_serve_as_one(self, start_system: StartSystem) -> None:
        system = start_system(self.middleware, Application.SERVICE, Architecture.N_NODE, interval="200ms")
        [first] = system.handles["broadcaster"]
        second = system.launcher.start(elsewhere(first.spec))
        with system.service() as client, client.subscribe() as ticks:
            client.add_insult("tonto")
            client.start_broadcast()
            numbers = [tick.number for tick in (ticks.receive(5.0) for _ in range(5)) if tick]
            assert numbers == list(range(numbers[0], numbers[0] + 5))
        system.launcher.stop(second)
