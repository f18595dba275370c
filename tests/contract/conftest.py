"""The two variants of four middlewares x two architectures that every contract test runs over.

Starting a system takes longer than most tests of it: the tests of a module share one, and leave it as it was.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import cast

import pytest

from lab.contract import Application, Architecture
from lab.middleware import MIDDLEWARES, VARIANTS
from lab.process.system import System, SystemSpec
from tests.conftest import system_for

NODES = {Architecture.ONE_NODE: 1, Architecture.N_NODE: 2}
INTERVAL = "150ms"
StartLike = Callable[..., AbstractContextManager[System]]

CASES = [
    pytest.param((name, architecture), id=f"{name}-{architecture}")
    for name in VARIANTS
    for architecture in Architecture
]
N_NODE = [pytest.param((name, Architecture.N_NODE), id=f"{name}-n-node") for name in VARIANTS]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out a test marked ``needs(PROMISE)`` where the variant does not promise it."""
    for marker in item.iter_markers("needs"):
        name, _ = item.callspec.params["case"]  # type: ignore[attr-defined]
        if not MIDDLEWARES[name].promises(marker.args[0]):
            pytest.skip(f"{name} does not promise that {marker.args[0]}")


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> StartLike:
    """Start a system of each of the sixteen kinds, as ``case(Application.FILTER, nodes=3)``."""
    return start_like(request)


def start_like(request: pytest.FixtureRequest) -> StartLike:
    """Return what starts systems of the kind that the fixture's parameter names."""
    name, architecture = cast(tuple[str, Architecture], request.param)

    @contextmanager
    def start(application: Application, **options: object) -> Iterator[System]:
        options = {"nodes": NODES[architecture], "interval": INTERVAL, **options}
        spec = SystemSpec(name, application, architecture, **options)  # type: ignore[arg-type]
        with system_for(request, spec) as system:
            yield system

    return start


@pytest.fixture(scope="module")
def service_system(case: StartLike) -> Iterator[System]:
    """A running InsultService of each kind."""
    with case(Application.SERVICE) as system:
        yield system


@pytest.fixture(scope="module")
def filter_system(case: StartLike) -> Iterator[System]:
    """A running InsultFilter of each kind."""
    with case(Application.FILTER) as system:
        yield system
