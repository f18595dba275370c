"""A private RabbitMQ for tests that kill it or take its memory, and queues of both types."""

from collections.abc import Iterator

import pytest

from lab.brokers import rabbitmq_broker
from lab.errors import Unavailable
from lab.settings import settings
from tests.rabbitmq.rig import PrivateRabbit


@pytest.fixture(scope="module")
def rabbit() -> Iterator[PrivateRabbit]:
    """Start a RabbitMQ of our own, even if another one runs."""
    try:
        broker = rabbitmq_broker(settings(), private=True)
    except Unavailable as error:
        if settings().require_brokers:
            pytest.fail(str(error))
        pytest.skip(str(error))
    with broker:
        yield PrivateRabbit(broker)


@pytest.fixture
def queue_type(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Set the type of queue that clients and nodes declare, in this process and in those that it starts."""
    monkeypatch.setenv("LAB_QUEUE_TYPE", request.param)
    settings.cache_clear()
    yield request.param
    settings.cache_clear()
