"""Pyro4 under faults: masters and nodes die, freeze, stop or are started twice, and the wall clock is set."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import Pyro4
import pytest

from harness.faults.by_hand import WallClock
from harness.faults.kinds.pyro4 import CONNECT, GREETING, message
from lab.contract import Application, Architecture
from lab.process.launcher import ProcessSpec
from lab.process.system import System
from pyro4.tuned.name_server import MASTER, Names
from pyro4.tuned.server import THREADS
from tests.conftest import StartSystem
from tests.direct import DirectFaults, frozen, loaded, port_of, progress, refused
from tests.eventually import eventually


class TestFaults(DirectFaults):
    middleware = "pyro4"
    half_a_request = message(GREETING, CONNECT)[:-1]
    too_many = THREADS + 50

    def live(self, system: System) -> list[str]:
        names = Names(system.target.address)
        with Pyro4.Proxy(names.lookup(MASTER)) as master:
            return [names.lookup(name) for name in master.check_slave()]


ONE_NODE, N_NODE = Architecture
EXIT_SECONDS = 20.0


def elsewhere(spec: ProcessSpec) -> ProcessSpec:
    """Return *spec* at a free port: its own is taken."""
    return replace(spec, arguments=(*spec.arguments, "--port", "0"))


@pytest.mark.parametrize("application", Application)
def test_a_second_node_of_one_says_so_and_the_first_keeps_its_name(
    start_system: StartSystem, application: Application
) -> None:
    running = start_system("pyro4", application)
    node = running.nodes[0]
    name = "insult.service" if application is Application.SERVICE else "filter.service"
    assert f"{name} runs already, at {node.address}" in refused(running, elsewhere(node.spec))
    names = Names(running.target.address)
    assert names.lookup(name) == node.address
    names.close()


def test_a_second_master_says_so_and_the_first_keeps_its_name(start_system: StartSystem) -> None:
    running = start_system("pyro4", Application.SERVICE, N_NODE)
    [master] = running.handles["master"]
    assert f"{MASTER} runs already, at {master.address}" in refused(running, elsewhere(master.spec))
    with running.service() as client:
        assert client.add_insult("tonto")


def test_a_second_name_server_at_a_port_says_so(start_system: StartSystem) -> None:
    running = start_system("pyro4", Application.SERVICE)
    port = str(port_of(running.handles["name_server"][0]))
    said = refused(running, ProcessSpec("name_server", "pyro4.name_server", ("--port", port)))
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "does it run already?" in said


@pytest.mark.parametrize(
    ("architecture", "role", "name"), [(ONE_NODE, "node", "insult.service"), (N_NODE, "master", MASTER)]
)
def test_the_name_of_an_owner_that_is_dead_or_frozen_is_taken_over(
    start_system: StartSystem, architecture: Architecture, role: str, name: str
) -> None:
    running = start_system("pyro4", Application.SERVICE, architecture)
    [first] = running.handles[role]
    running.launcher.kill(first)
    second = running.launcher.start(first.spec)
    names = Names(running.target.address)
    assert names.lookup(name) == second.address
    with frozen(second):
        third = running.launcher.start(elsewhere(first.spec))
        assert names.lookup(name) == third.address
    eventually(lambda: "runs already" in running.launcher.logs(second))  # it woke, and takes nothing back
    assert names.lookup(name) == third.address
    running.launcher.stop(second)
    assert names.lookup(name) == third.address
    names.close()


def test_two_broadcasters_serve_as_one(start_system: StartSystem) -> None:
    running = start_system("pyro4", Application.SERVICE, N_NODE, interval="200ms")
    [first] = running.handles["broadcaster"]
    second = running.launcher.start(elsewhere(first.spec))
    with running.service() as client, client.subscribe() as ticks:
        client.add_insult("tonto")
        client.start_broadcast()
        numbers = [tick.number for tick in (ticks.receive(5.0) for _ in range(5)) if tick]
        assert numbers == list(range(numbers[0], numbers[0] + 5))
    running.launcher.stop(second)


HOUR_SECONDS = 3600
DROPPED_SECONDS = 30.0


@contextmanager
def wall_clock(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[WallClock]:
    """Give the processes started within a wall clock that can be set; skip without libfaketime."""
    clock = WallClock(folder)
    if not clock.environment["LD_PRELOAD"]:
        pytest.skip("libfaketime is not here")
    with monkeypatch.context() as environment:
        for name, value in clock.environment.items():
            environment.setenv(name, value)
        yield clock


@pytest.mark.parametrize("jump_seconds", [-HOUR_SECONDS, HOUR_SECONDS])
def test_after_a_jump_of_the_wall_clock_the_dead_are_dropped_and_nobody_else(
    start_system: StartSystem,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    jump_seconds: int,
) -> None:
    with wall_clock(monkeypatch, tmp_path) as clock:
        running = start_system("pyro4", Application.SERVICE, Architecture.N_NODE, nodes=2)
        live, silent = running.nodes
        names = Names(running.target.address)
        with Pyro4.Proxy(names.lookup(MASTER)) as master, frozen(silent):
            clock.set(jump_seconds)
            eventually(lambda: len(master.check_slave()) == 1, within=DROPPED_SECONDS)
            assert master.get_resolver_slave() == live.address
            clock.set(-jump_seconds)
            with loaded(running) as load:
                progress(load, 100)
            load.assert_sound(running)
        names.close()
    assert running.launcher.logs(running.handles["master"][0]).count(f"joined at {live.address}") == 1
