"""Shared by the tests of RabbitMQ: a private broker, queues of both types, background work, bare channels."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pika
import pytest
from pika.spec import BasicProperties

from harness.faults.by_hand import rabbitmqctl
from harness.faults.site import Brokers
from lab.brokers import Broker
from lab.brokers.server import Server
from lab.errors import LabError
from lab.process.system import System
from lab.settings import settings


@pytest.fixture(scope="session")
def rabbit(private_brokers: Brokers) -> "PrivateRabbit":
    """A RabbitMQ of our own, even if another one runs: tests kill it, or take its memory."""
    return PrivateRabbit(private_brokers.by_kind["rabbitmq"])


@pytest.fixture
def queue_type(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Set the type of queue that clients and nodes declare, in this process and in those that it starts."""
    monkeypatch.setenv("LAB_QUEUE_TYPE", request.param)
    settings.cache_clear()
    yield request.param
    settings.cache_clear()


class PrivateRabbit:
    """A RabbitMQ of our own."""

    def __init__(self, broker: Broker) -> None:
        self.url = broker.url
        assert broker.server
        self.server: Server = broker.server

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl``; return what it prints."""
        return rabbitmqctl(self.server, *arguments)

    def queues(self, namespace: str) -> list[str]:
        """Return the names of the queues of *namespace*."""
        names = self.ctl("list_queues", "name", "--no-table-headers").split()
        return [name for name in names if name.startswith(f"{namespace}.")]


class Supervisor:
    """Replaces nodes of *system* that died. Use it in the thread that started them."""

    def __init__(self, system: System) -> None:
        self._cluster = system
        self.replaced: set[int] = set()

    def look(self) -> None:
        """Start a node for each one that died since the last call."""
        for node in list(self._cluster.nodes):
            if node.pid not in self.replaced and not self._cluster.launcher.alive(node):
                self.replaced.add(node.pid)
                self._cluster.add_node()


class Worker(threading.Thread):
    """Runs *work* in the background. :meth:`finish` raises the error of *work*, if there was one."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - raised again in finish()
            self._error = error

    def finish(self, timeout: float = 60.0) -> None:
        self.join(timeout)
        assert not self.is_alive(), f"not finished after {timeout:g} s"
        if self._error:
            raise self._error


@contextmanager
def channel_to(url: str) -> Iterator[Any]:
    """Open a bare channel."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        yield connection.channel()
    finally:
        connection.close()


def letters(url: str, queue: str) -> list[tuple[BasicProperties, bytes]]:
    """Take and return all messages of *queue*."""
    taken = []
    with channel_to(url) as channel:
        while (got := channel.basic_get(queue, auto_ack=True))[0]:
            taken.append((got[1], got[2]))
    return taken


def outcome(ask: Callable[[], object]) -> object:
    """Return the answer, or the LabError that is raised."""
    try:
        return ask()
    except LabError as error:
        return error
