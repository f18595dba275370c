"""Systems of n nodes on a Redis, and connections of the tests' own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from lab.contract import Application, Architecture
from lab.process.system import BrokerUrls, System, SystemSpec

SEED = 20261124
"""Of every random choice here; tests print it."""


def cluster_on(
    url: str,
    application: Application,
    nodes: int = 3,
    *arguments: str,
    interval: str = "300ms",
    supervised: bool = False,
) -> System:
    """Return a system of n nodes on the Redis at *url*, not yet started."""
    spec = SystemSpec(
        "redis_impl", application, Architecture.N_NODE, nodes, node_arguments=arguments, interval=interval
    )
    return System(spec, BrokerUrls(redis=url), supervised=supervised)


@contextmanager
def connected(url: str) -> Iterator["redis.Redis"]:
    """Yield a connection of the test's own, texts decoded."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        yield client


@pytest.fixture
def store(redis_url: str) -> Iterator[Any]:
    with connected(redis_url) as client:
        yield client
