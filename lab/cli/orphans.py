"""Processes of the lab whose starter is gone: where the kernel does not end them, or our state was lost."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from lab.brokers.ports import described
from lab.brokers.state import FOLDER, read_state
from lab.middleware import MIDDLEWARES
from lab.process.launcher import ROOT

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


def end(process: psutil.Process) -> None:
    """Let *process* drain, end it if that takes longer. Its id is not another's by now: psutil looks."""
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
    """Tell whether it is a private broker that no Python process started: one that nobody will end."""
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
