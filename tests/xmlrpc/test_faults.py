"""XML-RPC under faults: masters and nodes die, freeze, stop or are started twice, while clients work."""

from dataclasses import replace
from typing import Any

import pytest

from harness.faults.kinds.xmlrpc import GOOD, post
from lab.contract import Application, Architecture
from lab.process.system import System
from lab.topology import BROADCASTER, MASTER, NODE
from tests.conftest import StartSystem
from tests.direct import DirectFaults, port_of, refused
from xmlrpc.client import ServerProxy


class TestFaults(DirectFaults):
    middleware = "xmlrpc"
    half_a_request = post(GOOD)[:-1]
    too_many = 2000

    def live(self, system: System) -> list[str]:
        with ServerProxy(system.target.address) as master:
            nodes: Any = master.get_nodes()
            return list(nodes["service"])


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
