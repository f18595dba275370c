"""Pyro4 under faults: masters and nodes that die, freeze or stop, while clients work."""

import Pyro4
import pytest

from lab.contract import Application
from lab.errors import Overloaded
from pyro4.tuned.connection import PyroConnection
from pyro4.tuned.name_server import MASTER, Names
from pyro4.tuned.server import THREADS
from tests import direct_scenarios as scenarios
from tests.conftest import StartSystem
from tests.direct import crowd, port_of
from tests.eventually import eventually
from tests.pyro4.kinds import CONNECT, GREETING, message

MIDDLEWARE = "pyro4"


def test_a_master_that_restarts_serves_soon_and_gives_no_identifier_twice(system: StartSystem) -> None:
    cluster = scenarios.master_dies(system, MIDDLEWARE)
    names = Names(cluster.target.address)
    objects = {node.address.partition(":")[2].partition("@")[0] for node in cluster.nodes}
    with Pyro4.Proxy(names.lookup(MASTER)) as master:
        eventually(lambda: len(master.check_slave()) == 3)
        assert set(master.check_slave()) == objects
    names.close()


def test_clients_of_a_killed_node_go_on_and_each_effect_comes_once(system: StartSystem) -> None:
    scenarios.node_killed(system, MIDDLEWARE)


def test_clients_leave_a_frozen_node_within_their_deadline(system: StartSystem) -> None:
    scenarios.node_frozen(system, MIDDLEWARE)


def test_the_work_of_a_frozen_node_is_done_once_by_another(system: StartSystem) -> None:
    scenarios.frozen_at_work(system, MIDDLEWARE)


def test_a_node_told_to_stop_under_load_answers_what_it_took(system: StartSystem) -> None:
    scenarios.node_stops(system, MIDDLEWARE)


def test_silent_and_slow_connections_harm_nobody(system: StartSystem) -> None:
    scenarios.crowded(system, MIDDLEWARE, message(GREETING, CONNECT)[:-1])


def test_a_connection_too_many_is_told_so_and_the_node_goes_on(system: StartSystem) -> None:
    cluster = system(MIDDLEWARE, Application.SERVICE)
    with crowd(port_of(cluster.nodes[0]), THREADS + 50):
        refused = PyroConnection(cluster.nodes[0].address)
        with pytest.raises(Overloaded, match="every thread has a connection"):
            refused.call("get_insults", (), 5.0)
    with cluster.service() as client:
        assert eventually(lambda: client.get_insults() == [])
