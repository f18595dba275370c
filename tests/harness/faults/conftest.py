"""Private brokers for the tests of faults: they are killed, which those of the other tests never are."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from harness.faults.rig import Rig, Size
from harness.faults.site import Brokers, private_brokers
from lab.errors import Unavailable
from lab.settings import settings


@pytest.fixture(scope="session")
def brokers() -> Iterator[Brokers]:
    """A Redis and a RabbitMQ of our own; skip on a laptop, fail in CI, where one cannot be had."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(private_brokers(frozenset({"redis", "rabbitmq"})))
        except Unavailable as error:
            if settings().require_brokers:
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield found


@pytest.fixture
def rig(brokers: Brokers) -> Rig:
    """What a scenario is given, at the size of a test."""
    return Rig(brokers, seed=1, size=Size.BRIEF)
