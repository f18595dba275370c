"""A rig on the brokers of this session."""

from collections.abc import Iterator

import pytest

from tests.dynamic.rig import Load, Rig


@pytest.fixture
def rig(amqp_url: str, redis_url: str) -> Iterator[Rig]:
    with Rig(amqp_url, redis_url) as rig:
        yield rig


@pytest.fixture
def load(rig: Rig) -> Load:
    return Load(rig)
