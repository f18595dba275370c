"""Each name has one owner: a process that is started twice says so and ends, a dead owner is replaced."""

from dataclasses import replace

import pytest

from lab.contract import Application, Architecture
from lab.process.launcher import ProcessSpec
from pyro4.tuned.name_server import MASTER, Names
from tests.conftest import StartSystem
from tests.direct import frozen, port_of, refused
from tests.eventually import eventually

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
