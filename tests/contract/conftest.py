"""The two variants of four middlewares x two architectures that every contract test runs over."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.contract import Application, Architecture
from lab.middleware import MIDDLEWARES, VARIANTS, Middleware
from lab.process.system import System, SystemSpec
from tests.conftest import StartSystem
from tests.systems import system_for

NODES = {Architecture.ONE_NODE: 1, Architecture.N_NODE: 3}
INTERVAL = "300ms"

CASES = [
    pytest.param((name, architecture), id=f"{name}-{architecture}")
    for name in VARIANTS
    for architecture in Architecture
]
N_NODE = [pytest.param((name, Architecture.N_NODE), id=f"{name}-n-node") for name in VARIANTS]


@dataclass(frozen=True)
class Case:
    """One of the sixteen kinds of system."""

    middleware: Middleware
    architecture: Architecture
    start_system: StartSystem

    def start(self, application: Application, **options: object) -> System:
        """Start a system of this kind, n-node with 3 nodes."""
        options.setdefault("nodes", NODES[self.architecture])
        options.setdefault("interval", INTERVAL)
        return self.start_system(self.middleware.name, application, self.architecture, **options)


@pytest.fixture(autouse=True)
def _is_promised(request: pytest.FixtureRequest) -> None:
    """Leave out a test marked ``needs(PROMISE)`` where the variant does not promise it."""
    systems = [value for value in request.node.callspec.params.values() if isinstance(value, tuple)]
    for marker in request.node.iter_markers("needs"):
        for name, _ in systems:
            if not MIDDLEWARES[name].promises(marker.args[0]):
                pytest.skip(f"{name} does not promise that {marker.args[0]}")


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, system: StartSystem) -> Case:
    """Each of the sixteen kinds of system, started by the test."""
    name, architecture = request.param
    return Case(MIDDLEWARES[name], architecture, system)


@pytest.fixture(params=N_NODE)
def n_node(request: pytest.FixtureRequest, system: StartSystem) -> Case:
    """Each of the eight n-node systems, started by the test."""
    name, architecture = request.param
    return Case(MIDDLEWARES[name], architecture, system)


@pytest.fixture(scope="module", params=CASES)
def service_system(request: pytest.FixtureRequest) -> Iterator[System]:
    """A running InsultService of each kind, for the tests of a module that do not disturb one another."""
    yield from _running(request, Application.SERVICE)


@pytest.fixture(scope="module", params=CASES)
def filter_system(request: pytest.FixtureRequest) -> Iterator[System]:
    """A running InsultFilter of each kind, likewise."""
    yield from _running(request, Application.FILTER)


def _running(request: pytest.FixtureRequest, application: Application) -> Iterator[System]:
    name, architecture = request.param
    spec = SystemSpec(name, application, architecture, NODES[architecture], interval=INTERVAL)
    with system_for(request, spec) as cluster:
        yield cluster
