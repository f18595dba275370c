"""A Redis of the tests' own, to be killed, and systems on it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis

from lab.contract import Application, Architecture
from lab.process.system import BrokerUrls, System, SystemSpec

SEED = 20261124
"""Of every random choice here; tests print it."""


def cluster_on(
    url: str, application: Application, nodes: int = 3, *arguments: str, interval: str = "300ms"
) -> System:
    """Return a system of n nodes on the Redis at *url*, not yet started."""
    spec = SystemSpec(
        "redis_impl",
        application,
        Architecture.N_NODE,
        nodes,
        node_arguments=arguments,
        interval=interval,
    )
    return System(spec, BrokerUrls(redis=url))


@contextmanager
def connected(url: str) -> Iterator["redis.Redis"]:
    """Yield a connection of the test's own, texts decoded."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        yield client


def supervise(system: System, is_done: Callable[[], bool], within: float = 60.0) -> int:
    """Start a node for each that ended until *is_done*; return how many ended."""
    deadline, ended = time.monotonic() + within, 0
    replaced: set[int] = set()
    while not is_done():
        assert time.monotonic() < deadline, f"{ended} nodes ended, and it is not done"
        for node in list(system.nodes):
            if node.pid not in replaced and not system.launcher.alive(node):
                replaced.add(node.pid)
                ended += 1
                system.add_node()
        time.sleep(0.05)
    return ended
