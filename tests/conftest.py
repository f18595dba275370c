"""Brokers, throw-away namespaces and systems for every test; nothing is left behind."""

import fcntl
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import NoReturn

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from harness.faults.site import Brokers
from harness.faults.site import private_brokers as private_brokers_of
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


hypothesis_settings.register_profile("lab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("lab")  # no test depends on how fast the machine is


def pytest_configure() -> None:
    """Let what the tests start be interrupted: started in the background of a shell, it would ignore that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have most slow tests, so that processes which share files end together."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture
def usual_ports() -> Iterator[None]:
    """Have the ports that documents show to oneself: other tests that need them wait, in all processes."""
    folder = os.open(tempfile.gettempdir(), os.O_RDONLY)  # a lock that leaves no file, also between users
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis: the one given or found, else a private one for this session."""
    yield from _broker_url(redis_broker)


@pytest.fixture(scope="session")
def amqp_url() -> Iterator[str]:
    """A RabbitMQ: the one given or found, else a private one for this session."""
    yield from _broker_url(rabbitmq_broker)


@pytest.fixture(scope="session")
def private_brokers() -> Iterator[Brokers]:
    """A Redis and a RabbitMQ of our own, to be killed, filled and frozen; each test leaves them running.

    RabbitMQ takes seconds to start: all tests of this process share one.
    """
    with ExitStack() as stack:
        try:
            found = stack.enter_context(private_brokers_of(frozenset({"redis", "rabbitmq"})))
        except Unavailable as error:
            _complain(str(error))
        yield found


@pytest.fixture
def namespace(redis_url: str) -> Iterator[str]:
    """A throw-away namespace, deleted afterwards."""
    name = throwaway_namespace()
    yield name
    delete_namespace(redis_url, name)


@pytest.fixture
def terminal(usual_ports: None, redis_url: str, amqp_url: str, namespace: str) -> Iterator[dict[str, str]]:
    """What a terminal has after `lab up`, but with a throw-away namespace; the usual ports must be free."""
    try:  # a test that takes free ports may have one of them for a moment
        eventually(lambda: not taken_ports(), within=60.0)
    except AssertionError:
        _complain(f"ports that documents show are taken: {taken_ports()}")
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
    with ExitStack() as stack:
        try:
            broker = stack.enter_context(start(settings()))
        except Unavailable as error:
            _complain(str(error))
        yield broker.url


def _complain(reason: str) -> NoReturn:
    """Skip on a laptop, fail in CI."""
    if settings().require_brokers:
        pytest.fail(reason)
    pytest.skip(reason)
