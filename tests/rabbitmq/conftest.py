"""A private RabbitMQ, to be killed and to be driven out of memory; queues of either type."""

from collections.abc import Iterator

import pytest

from lab.brokers import rabbitmq_broker
from lab.errors import Unavailable
from lab.settings import settings
from tests.rabbitmq.rig import PrivateRabbit


@pytest.fixture(scope="module")
def rabbit() -> Iterator[PrivateRabbit]:
    """A RabbitMQ of our own, whatever others are there."""
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
    """The kind of queue that clients and nodes declare, here and in the processes started from here."""
    monkeypatch.setenv("LAB_QUEUE_TYPE", request.param)
    settings.cache_clear()
    yield request.param
    settings.cache_clear()
