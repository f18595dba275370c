"""XML-RPC under faults: masters and nodes that die, freeze or stop, while clients work."""

import pytest

from lab.contract import Application
from lab.errors import Overloaded
from tests import direct_scenarios as scenarios
from tests.conftest import StartSystem
from tests.direct import crowd, port_of
from tests.eventually import eventually
from tests.xmlrpc.kinds import GOOD, post
from xmlrpc._connection import XmlRpcConnection
from xmlrpc._http import MAX_CONNECTIONS
from xmlrpc.client import ServerProxy

MIDDLEWARE = "xmlrpc"


def test_a_master_that_restarts_serves_soon_and_gives_no_port_or_name_twice(system: StartSystem) -> None:
    cluster = scenarios.master_dies(system, MIDDLEWARE)
    with ServerProxy(cluster.target.address) as master:
        live = master.get_nodes()["service"]  # type: ignore[index,call-overload]
    assert sorted(live) == sorted(node.address for node in cluster.nodes)
    assert len(set(live)) == 3


def test_clients_of_a_killed_node_go_on_and_each_effect_comes_once(system: StartSystem) -> None:
    scenarios.node_killed(system, MIDDLEWARE)


def test_clients_leave_a_frozen_node_within_their_deadline(system: StartSystem) -> None:
    scenarios.node_frozen(system, MIDDLEWARE)


def test_the_work_of_a_frozen_node_is_done_once_by_another(system: StartSystem) -> None:
    scenarios.frozen_at_work(system, MIDDLEWARE)


def test_a_node_told_to_stop_under_load_answers_what_it_took(system: StartSystem) -> None:
    scenarios.node_stops(system, MIDDLEWARE)


def test_silent_and_slow_connections_harm_nobody(system: StartSystem) -> None:
    scenarios.crowded(system, MIDDLEWARE, post(GOOD)[:-1])


def test_a_connection_too_many_is_told_so_and_the_node_goes_on(system: StartSystem) -> None:
    cluster = system(MIDDLEWARE, Application.SERVICE)
    with crowd(port_of(cluster.nodes[0]), MAX_CONNECTIONS):
        refused = XmlRpcConnection(cluster.nodes[0].address)
        with pytest.raises(Overloaded, match="2000 connections"):
            refused.call("get_insults", (), 5.0)
    with cluster.service() as client:
        assert eventually(lambda: client.get_insults() == [])
