"""What ``lab up`` left running, so that others find it, and who listens on which port."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from lab.bootstrap import ROOT
from lab.errors import AlreadyRunning, Unavailable

FOLDER = ROOT / ".lab"
STATE = FOLDER / "brokers.json"
STOP_SECONDS = 15.0
CLOCK_STEP_SECONDS = 2.0  # how much the start time of a process may move when the clock is set


@dataclass(frozen=True, slots=True)
class Running:
    """A broker that others may use. *started* are times, because a process id may be used again."""

    kind: str
    url: str
    pids: tuple[int, ...]
    started: tuple[float, ...]
    lasting: bool = True
    """It stays until ``lab down``; else it ends with the ``lab serve`` that started it."""

    def is_alive(self) -> bool:
        """Tell whether all its processes are those that were started."""
        return all(_is_same(pid, started) for pid, started in zip(self.pids, self.started, strict=True))

    def stop(self) -> None:
        """End its processes, and no others."""
        for pid, started in zip(self.pids, self.started, strict=True):
            if not _is_same(pid, started):
                continue
            try:
                os.kill(pid, signal.SIGTERM)
            except PermissionError as error:
                raise Unavailable(f"{self.kind} (process {pid}) belongs to another user") from error
            deadline = time.monotonic() + STOP_SECONDS
            while _is_same(pid, started) and time.monotonic() < deadline:
                time.sleep(0.05)
            if _is_same(pid, started):
                os.kill(pid, signal.SIGKILL)


def running(kind: str, url: str, pids: list[int]) -> Running:
    """Describe the processes *pids* as they are now."""
    return Running(kind, url, tuple(pids), tuple(psutil.Process(pid).create_time() for pid in pids))


def read_state() -> dict[str, Running]:
    """Return the running brokers by kind; those that ended are left out."""
    try:
        found = _written()
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {kind: broker for kind, broker in found.items() if broker.is_alive()}


def ended() -> list[str]:
    """Name the brokers of the state that have ended (a reboot, a kill), or say that the state is damaged."""
    try:
        found = _written()
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{STATE} cannot be read ({error!r})"]
    return [f"{kind} in {STATE}, which ended" for kind, one in found.items() if not one.is_alive()]


def lock_holders() -> list[int]:
    """Return the processes that hold the lock under which the state is changed (Linux; elsewhere none)."""
    try:
        inode = (FOLDER / "lock").stat().st_ino
        locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    # "1: FLOCK  ADVISORY  WRITE 4242 08:01:131072 0 EOF"; those that wait have "->" in the second place.
    fields = [line.split() for line in locks]
    return [int(one[4]) for one in fields if one[1] == "FLOCK" and one[5].endswith(f":{inode}")]


@contextmanager
def changing() -> Iterator[dict[str, Running]]:
    """Give the running brokers to one process at a time: two `lab up` must not start four.

    If one process of a broker has ended (RabbitMQ was killed, its epmd lives), its others are ended first.
    """
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        up = read_state()
        with suppress(OSError, ValueError, KeyError, TypeError):
            for kind, broker in _written().items():
                if kind not in up and broker.lasting:
                    broker.stop()
        yield up


@contextmanager
def only_process(what: str) -> Iterator[None]:
    """Be the only process of this folder that does *what*; raise AlreadyRunning if another does."""
    with ExitStack() as stack:
        try:
            FOLDER.mkdir(exist_ok=True)
            lock = stack.enter_context((FOLDER / f"{what}.lock").open("a"))
        except OSError:  # a folder that we may not write: then we cannot know
            yield
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AlreadyRunning(f"{what} runs here already, in another terminal") from error
        yield


@contextmanager
def announced(broker: Running) -> Iterator[bool]:
    """Let nodes and shells in other terminals find *broker*; False if they already find another one."""
    broker = replace(broker, lasting=False)
    with changing() as up:
        is_first = broker.kind not in up
        if is_first:
            write_state({**up, broker.kind: broker})
    try:
        yield is_first
    finally:
        with changing() as up:
            write_state({kind: other for kind, other in up.items() if other != broker})


def write_state(brokers: dict[str, Running]) -> None:
    """Remember *brokers*; the file holds their passwords, so only its owner may read it."""
    if not brokers:
        STATE.unlink(missing_ok=True)
        return
    scratch = STATE.with_suffix(".new")
    scratch.touch(mode=0o600)
    scratch.write_text(json.dumps([asdict(broker) for broker in brokers.values()]), encoding="utf-8")
    scratch.replace(STATE)


def _written() -> dict[str, Running]:
    entries = json.loads(STATE.read_text(encoding="utf-8"))
    return {
        entry["kind"]: Running(
            entry["kind"],
            entry["url"],
            tuple(entry["pids"]),
            tuple(entry["started"]),
            entry.get("lasting", True),
        )
        for entry in entries
    }


def _is_same(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < CLOCK_STEP_SECONDS
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def listeners() -> dict[int, set[int]]:
    """Return the process ids that listen on each TCP port, as far as we may see them.

    Outside Linux, only root sees all of them. Processes that we may not see are left out.
    """
    found: dict[int, set[int]] = {}
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return found
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.pid:
            found.setdefault(connection.laddr.port, set()).add(connection.pid)
    return found


def described(pid: int) -> str:
    """Describe the process *pid*: its number and the module or program that it runs."""
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return f"process {pid}"
    module = words[words.index("-m") + 1 :][:1] if "-m" in words else []
    return f"process {pid}, {(module or words or ['?'])[0]}"
