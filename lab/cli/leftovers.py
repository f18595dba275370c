"""What killed runs left behind, and how to remove it. Nothing in use and nothing foreign is removed.

Processes whose starter is gone, folders, sockets, and throw-away namespaces in Redis and RabbitMQ.
"""

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
import redis

from lab.brokers import located, rabbitmq_server, redis_server
from lab.brokers.rabbitmq_server import delete_queues, queue_names
from lab.brokers.state import FOLDER, changing, described, ended, read_state, write_state
from lab.errors import LabError
from lab.middleware import MIDDLEWARES
from lab.process.launcher import ROOT
from lab.settings import Settings
from lab.store.namespace import delete_namespace, is_throwaway

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
    yield from (Leftover(orphan.what, partial(_end, orphan.process)) for orphan in orphans())
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


END_SECONDS = 10.0
BROKERS = ("redis-server", "beam.smp", "epmd")
TEMPORARY = ("/lab-redis-", "/lab-rabbitmq-")


@dataclass(frozen=True, slots=True)
class Orphan:
    """A process that serves nobody."""

    process: psutil.Process
    what: str


def orphans() -> Iterator[Orphan]:
    """Yield our nodes and private brokers that outlived what started them, and brokers that `up` forgot."""
    up = {pid for broker in read_state().values() for pid in broker.pids}
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it ended, or is somebody else's
            if process.uids().real != os.getuid() or process.pid in up:
                continue
            if _is_orphaned_node(process) or _is_orphaned_broker(process):
                yield Orphan(process, described(process.pid))


def _end(process: psutil.Process) -> None:
    """Let *process* drain; kill it if that takes too long. psutil checks that the id is still its own."""
    with suppress(psutil.NoSuchProcess):
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()


def _is_orphaned_node(process: psutil.Process) -> bool:
    words = process.cmdline()
    module = words[words.index("-m") + 1 :][:1] if "-m" in words else []
    package, _, name = module[0].rpartition(".") if module else ("", "", "")
    if f"{package}.{name}" not in {middleware.module(name) for middleware in MIDDLEWARES.values()}:
        return False
    starter = process.environ().get("LAB_PARENT", "")  # without one it was started by hand
    return starter.isdecimal() and int(starter) != process.ppid()


def _is_orphaned_broker(process: psutil.Process) -> bool:
    """Tell whether it is a private broker whose starter is gone: nobody will end it."""
    if process.name() not in BROKERS:
        return False
    # Redis rewrites its command, and works in its folder; RabbitMQ's beam is told its folder by variables.
    places = [f"{process.cwd()}/", process.environ().get("RABBITMQ_CONFIG_FILE", "")]
    is_private = any(name in place for place in places for name in (f"{FOLDER}/", *TEMPORARY))
    is_our_epmd = process.name() == "epmd" and Path(process.cwd()) == ROOT
    return (is_private or is_our_epmd) and not _is_started_by_python(process)


def _is_started_by_python(process: psutil.Process) -> bool:
    parent = process.parent()
    if parent is None or parent.pid == 1:
        return False
    return "py" in Path(parent.exe()).name  # its own name may be a script's: pytest


_KEYS_AT_ONCE = 1000


def idle_namespaces(url: str, idle_seconds: float) -> list[str]:
    """Return the throw-away namespaces in the Redis at *url* whose keys were not used for *idle_seconds*.

    None where no Redis answers.
    """
    if not url or not redis_server.answers(url):
        return []
    idle: dict[str, float] = {}
    idle_numbers: dict[str, float] = {}
    with redis.Redis.from_url(url, decode_responses=True) as client:
        for key in client.scan_iter(match="lab-????????:*", count=_KEYS_AT_ONCE):
            name = key.partition(":")[0]
            with suppress(redis.ResponseError):  # gone since; or a policy that keeps no time of use
                # Redis keeps small numbers once, for all keys: their time of use may be another key's.
                known = idle_numbers if client.object("encoding", key) == "int" else idle
                seconds = client.object("idletime", key)
                if is_throwaway(name) and seconds is not None:
                    known[name] = min(known.get(name, seconds), seconds)
    return sorted(name for name, seconds in (idle_numbers | idle).items() if seconds >= idle_seconds)


def idle_queue_namespaces(url: str) -> list[str]:
    """Return the throw-away namespaces whose queues in the RabbitMQ at *url* nobody uses.

    RabbitMQ does not tell when a queue was last used: so those from which nobody consumes and which no
    process names in its command. None where it cannot be asked.
    """
    queues = queue_names(url) if url else None
    if not queues:
        return []
    names = {name.partition(".")[0] for name in queues}
    busy = {name.partition(".")[0] for name, consumers in queues.items() if consumers}
    idle = {name for name in names - busy if is_throwaway(name)}
    return sorted(idle - _named_by_processes()) if idle else []


def _named_by_processes() -> set[str]:
    words: set[str] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it ended, or is somebody else's
            words.update(process.cmdline())
    return words
