"""What killed runs left behind, and how to remove it: nothing in use, and nothing that is not ours."""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from lab.brokers import rabbitmq_server
from lab.brokers.locate import located
from lab.brokers.rabbitmq_queues import delete_queues
from lab.brokers.state import changing, ended, write_state
from lab.cli.orphans import end, orphans
from lab.cli.stale import idle_namespaces, idle_queue_namespaces
from lab.errors import LabError
from lab.middleware import MIDDLEWARES
from lab.settings import Settings
from lab.store.namespace import delete_namespace

FOLDERS = ("lab-redis-*", "lab-rabbitmq-*", "lab-logs-*")
SOCKETS = "pool-*.sock"


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that nobody uses any more; *remove* removes it."""

    what: str
    remove: Callable[[], object]


def leftovers(known: Settings, idle_seconds: float) -> Iterator[Leftover]:
    """Yield what was left unused for *idle_seconds*.

    In the order in which to remove it, each kind looked for when its turn comes: processes hold the others.
    """
    yield from (Leftover(orphan.what, partial(end, orphan.process)) for orphan in orphans())
    yield from _state()
    yield from _sockets()
    yield from _namespaces(known, idle_seconds)
    for folder in idle_folders(idle_seconds):
        yield Leftover(f"folder {folder}", partial(shutil.rmtree, folder, ignore_errors=True))


def idle_folders(idle_seconds: float) -> list[Path]:
    """Return our temporary folders, older than *idle_seconds*, in which no process has a file open."""
    used = _open_paths()
    oldest = time.time() - idle_seconds
    return [
        folder
        for pattern in FOLDERS
        for folder in sorted(Path(tempfile.gettempdir()).glob(pattern))
        if folder.stat().st_uid == os.getuid()
        and folder.stat().st_mtime <= oldest
        and not any(path.is_relative_to(folder) for path in used)
    ]


def _state() -> Iterator[Leftover]:
    for what in ended():
        yield Leftover(what, _forget)


def _forget() -> None:
    with changing() as up:
        write_state(up)


def _sockets() -> Iterator[Leftover]:
    """Yield the sockets of pools of workers at which nobody listens."""
    for path in sorted(Path(tempfile.gettempdir()).glob(f"lab-{os.getuid()}/{SOCKETS}")):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                yield Leftover(f"socket {path}", partial(path.unlink, missing_ok=True))
            except OSError:  # it went just now, or is none of ours
                continue


def _namespaces(known: Settings, idle_seconds: float) -> Iterator[Leftover]:
    with suppress(LabError):  # a broker that does not answer has a row of its own
        redis, rabbitmq = located("redis", known), located("rabbitmq", known)
        redis_url, amqp_url = redis[0] if redis else "", rabbitmq[0] if rabbitmq else ""
        if amqp_url and not rabbitmq_server.answers(amqp_url):
            amqp_url = ""
        names = set(idle_namespaces(redis_url, idle_seconds))
        names |= set(idle_queue_namespaces(amqp_url))
        for name in sorted(names):
            yield Leftover(f"namespace {name}", partial(_delete, name, redis_url, amqp_url))


def _delete(name: str, redis_url: str, amqp_url: str) -> None:
    if redis_url:
        delete_namespace(redis_url, name)
    if amqp_url:
        MIDDLEWARES["rabbitmq"].delete_queues(amqp_url, name)
        delete_queues(amqp_url, f"{name}.")  # and what an older lab called otherwise


def _open_paths() -> list[Path]:
    paths = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it ended, or is somebody else's
            paths += [Path(file.path) for file in process.open_files()]
    return paths
