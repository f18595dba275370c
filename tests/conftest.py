"""Brokers, throw-away namespaces and systems for every test; nothing is left behind."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest

from lab.addresses import is_open
from lab.brokers import Broker, rabbitmq_broker, redis_broker
from lab.contract import Application, Architecture
from lab.errors import Unavailable
from lab.middleware import MIDDLEWARES
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.settings import Settings, settings
from lab.store.namespace import delete_namespace, throwaway_namespace
from tests.eventually import eventually

StartSystem = Callable[..., System]
USUAL_PORTS = (8000, 8001, 8002, 8003, 8004, 9090)


def pytest_configure() -> None:
    """Let what the tests start be interrupted: started in the background of a shell, it would ignore that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where processes share the tests, keep those of a file together, and those that need the usual ports."""
    for item in items:
        is_marked = item.get_closest_marker("usual_ports") is not None
        needs_ports = is_marked or "terminal" in getattr(item, "fixturenames", ())
        group = "usual ports" if needs_ports else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis: the one given or found, else a private one for this session."""
    yield from _broker_url(redis_broker)


@pytest.fixture(scope="session")
def amqp_url() -> Iterator[str]:
    """A RabbitMQ: the one given or found, else a private one for this session."""
    yield from _broker_url(rabbitmq_broker)


@pytest.fixture
def namespace(redis_url: str) -> Iterator[str]:
    """A throw-away namespace, deleted afterwards."""
    name = throwaway_namespace()
    yield name
    delete_namespace(redis_url, name)


@pytest.fixture
def terminal(redis_url: str, amqp_url: str, namespace: str) -> Iterator[dict[str, str]]:
    """What a terminal has after `lab up`, but with a throw-away namespace; the usual ports must be free."""
    try:  # other tests, side by side with this one, may take one for a moment
        eventually(lambda: not taken_ports(), within=60.0)
    except AssertionError:
        complain = pytest.fail if settings().require_brokers else pytest.skip
        complain(f"ports that documents show are taken: {taken_ports()}")
    brokers = {"LAB_REDIS_URL": redis_url, "LAB_AMQP_URL": amqp_url, "LAB_NAMESPACE": namespace}
    yield {**os.environ, **brokers}
    MIDDLEWARES["rabbitmq"].delete_queues(amqp_url, namespace)


def taken_ports() -> list[int]:
    """Return which of the usual ports somebody listens on."""
    return [port for port in USUAL_PORTS if is_open(port)]


def system_for(request: pytest.FixtureRequest, spec: SystemSpec, *, supervised: bool = False) -> System:
    """Return the system of *spec*, not yet started; skip or fail where a broker it needs is missing."""
    needed = spec.needed_brokers
    urls = BrokerUrls(
        redis=request.getfixturevalue("redis_url") if "redis" in needed else "",
        amqp=request.getfixturevalue("amqp_url") if "rabbitmq" in needed else "",
    )
    return System(spec, urls, supervised=supervised)


@pytest.fixture
def start_system(request: pytest.FixtureRequest) -> Iterator[StartSystem]:
    """Start systems, as ``start_system("pyro4", Application.FILTER, nodes=3)``; end them."""
    with ExitStack() as stack:

        def start(
            middleware: str,
            application: Application,
            architecture: Architecture = Architecture.ONE_NODE,
            nodes: int = 1,
            **options: object,
        ) -> System:
            spec = SystemSpec(middleware, application, architecture, nodes, **options)  # type: ignore[arg-type]
            return stack.enter_context(system_for(request, spec))

        yield start


def _broker_url(start: Callable[[Settings], AbstractContextManager[Broker]]) -> Iterator[str]:
    """Skip on a laptop, fail in CI, where the broker is missing."""
    with ExitStack() as stack:
        try:
            broker = stack.enter_context(start(settings()))
        except Unavailable as error:
            if settings().require_brokers:
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield broker.url
