"""Each port has one owner: a process started twice says so and ends; two broadcasters serve as one."""

from dataclasses import replace

import pytest

from lab.contract import Application, Architecture
from lab.topology import BROADCASTER, MASTER, NODE
from tests.conftest import StartSystem
from tests.direct import port_of, refused


@pytest.mark.parametrize(
    ("architecture", "role"),
    [(Architecture.ONE_NODE, NODE), (Architecture.N_NODE, MASTER), (Architecture.N_NODE, BROADCASTER)],
)
def test_a_process_that_is_started_twice_says_so_and_the_first_serves_on(
    start_system: StartSystem, architecture: Architecture, role: str
) -> None:
    running = start_system("xmlrpc", Application.SERVICE, architecture)
    first = running.handles[role][0]
    with running.service() as client:
        assert client.add_insult("tonto")
        said = refused(running, first.spec)
        assert f"cannot listen on 127.0.0.1:{port_of(first)}" in said
        assert "does it run already?" in said
        assert client.get_insults() == ["tonto"]


def test_a_second_one_of_n_nodes_at_the_same_port_says_so(start_system: StartSystem) -> None:
    running = start_system("xmlrpc", Application.FILTER, Architecture.N_NODE)
    node = running.nodes[0]
    again = replace(node.spec, arguments=(*node.spec.arguments, "--port", str(port_of(node))))
    assert f"cannot listen on 127.0.0.1:{port_of(node)}" in refused(running, again)


def test_two_broadcasters_serve_as_one(start_system: StartSystem) -> None:
    running = start_system("xmlrpc", Application.SERVICE, Architecture.N_NODE, interval="200ms")
    [first] = running.handles[BROADCASTER]
    second = running.launcher.start(replace(first.spec, arguments=(*first.spec.arguments, "--port", "0")))
    with running.service() as client, client.subscribe() as ticks:
        client.add_insult("tonto")
        client.start_broadcast()
        numbers = [tick.number for tick in (ticks.receive(5.0) for _ in range(5)) if tick]
        assert numbers == list(range(numbers[0], numbers[0] + 5))
    running.launcher.stop(second)
