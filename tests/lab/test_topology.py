"""Architectures as data, and that what the four middlewares declare can be started."""

import importlib.util
import re

import pytest

from lab.contract import Application, Architecture
from lab.middleware import MIDDLEWARES, Middleware
from lab.topology import NODE, Role, Topology

TOPOLOGY = Topology(
    one_node=(Role(NODE, "mw.insult_{application}"),),
    n_node=(
        Role("master", "mw.master"),
        Role("broadcaster", "mw.broadcaster", applications=(Application.SERVICE,)),
        Role(NODE, "mw.insult_{application}", ("--master", "{master}")),
    ),
    one_node_entry=NODE,
    n_node_entry="master",
)
SYSTEMS = [
    pytest.param(middleware, architecture, application, id=f"{name}-{architecture}-{application}")
    for name, middleware in MIDDLEWARES.items()
    for architecture in Architecture
    for application in Application
]


def names(topology: Topology, architecture: Architecture, application: Application) -> list[str]:
    return [role.name for role in topology.roles(architecture, application)]


def test_roles_come_in_the_order_in_which_they_start() -> None:
    assert names(TOPOLOGY, Architecture.N_NODE, Application.SERVICE) == ["master", "broadcaster", "node"]


def test_a_role_of_one_application_is_not_started_for_the_other() -> None:
    assert names(TOPOLOGY, Architecture.N_NODE, Application.FILTER) == ["master", "node"]


def test_each_architecture_has_its_roles_and_its_entry() -> None:
    assert names(TOPOLOGY, Architecture.ONE_NODE, Application.FILTER) == ["node"]
    assert [TOPOLOGY.entry(architecture) for architecture in Architecture] == ["node", "master"]


@pytest.mark.parametrize(("middleware", "architecture", "application"), SYSTEMS)
def test_every_system_ends_with_the_role_of_its_nodes(
    middleware: Middleware, architecture: Architecture, application: Application
) -> None:
    started = names(middleware.topology(), architecture, application)
    assert started.count(NODE) == 1
    assert len(set(started)) == len(started)


@pytest.mark.parametrize(("middleware", "architecture", "application"), SYSTEMS)
def test_clients_are_given_a_role_of_the_system_or_its_broker(
    middleware: Middleware, architecture: Architecture, application: Application
) -> None:
    topology = middleware.topology()
    entries = names(topology, architecture, application) if middleware.is_direct else [""]
    assert topology.entry(architecture) in entries


@pytest.mark.parametrize(("middleware", "architecture", "application"), SYSTEMS)
def test_a_role_is_told_only_addresses_of_roles_that_started_before(
    middleware: Middleware, architecture: Architecture, application: Application
) -> None:
    started: set[str] = set()
    for role in middleware.topology().roles(architecture, application):
        assert set(re.findall(r"{(\w+)}", " ".join(role.arguments))) <= started
        started.add(role.name)


@pytest.mark.parametrize(("middleware", "architecture", "application"), SYSTEMS)
def test_the_module_of_every_role_is_there(
    middleware: Middleware, architecture: Architecture, application: Application
) -> None:
    for role in middleware.topology().roles(architecture, application):
        assert importlib.util.find_spec(role.module.format(application=application)) is not None


@pytest.mark.parametrize("name", MIDDLEWARES)
def test_n_nodes_need_redis_and_each_system_its_own_broker(name: str) -> None:
    middleware = MIDDLEWARES[name]
    own = {middleware.broker} - {""}
    assert middleware.needed_brokers(Architecture.ONE_NODE) == own
    assert middleware.needed_brokers(Architecture.N_NODE) == own | {"redis"}
