"""What the tests of dynamic scaling share: its programs, run for real, and a load that accounts for all."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import pika
import psutil
import pytest
from pika.exceptions import AMQPChannelError

from dynamic.events import EventNames
from dynamic.pool.client import PoolClient
from dynamic.publisher import Completions, EventSender
from lab.process.launcher import ROOT
from lab.store import open_store
from lab.store.namespace import delete_namespace, throwaway_namespace
from tests.eventually import eventually

END_SECONDS = 25.0
"""A generous deadline for a program that drains."""


class Program:
    """A program with what it said so far."""

    def __init__(self, module: str, arguments: tuple[str, ...], folder: Path, environment: dict[str, str]):
        self._out, self._err = (folder / f"{time.monotonic_ns()}.{kind}" for kind in ("out", "err"))
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        return self._out.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text(encoding="utf-8")

    def readings(self) -> list[dict[str, Any]]:
        """Return what a controller printed, without the line by which it says that it is ready."""
        lines = self.out.rpartition("\n")[0].splitlines()  # the last one may be half written
        return [reading for line in lines if "sample" in (reading := json.loads(line))]

    def wait_ready(self) -> dict[str, Any]:
        """Return the line by which it says that it is ready."""

        def first() -> dict[str, Any]:
            assert self.process.poll() is None, self.err
            line, end, _ = self.out.partition("\n")
            return json.loads(line) if end else {}

        return eventually(first, within=30.0)

    def end(self) -> int:
        self.process.terminate()
        return self.wait()

    def wait(self) -> int:
        return self.process.wait(END_SECONDS)


class Rig:
    """Queues and a store in a namespace of their own, and the programs on them; all gone at the end."""

    def __init__(self, amqp_url: str, redis_url: str) -> None:
        self.amqp_url, self.redis_url = amqp_url, redis_url
        self.namespace = throwaway_namespace()
        self.names = EventNames(self.namespace)
        self.stack = ExitStack()
        self._folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-t-")))
        self.environment = {
            **os.environ,
            "LAB_AMQP_URL": amqp_url,
            "LAB_REDIS_URL": redis_url,
            "TMPDIR": str(self._folder),
        }

    def __enter__(self) -> Self:
        self.stack.callback(delete_namespace, self.redis_url, self.namespace)
        self.stack.callback(self._delete_queues)
        self.stack.callback(self.end_all)
        store = open_store(self.redis_url, self.namespace)
        store.add_insults(["tonto"])
        store.close()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stack.close()

    def run(self, module: str, *arguments: str, **environment: str) -> Program:
        """Start a program of ours."""
        given = ("--namespace", self.namespace, *arguments)
        return Program(module, given, self._folder, {**self.environment, **environment})

    def controller(self, *arguments: str) -> Program:
        """Start a controller that reads every 0.5 s and prints JSON; wait until it controls."""
        controller = self.run("dynamic", "--json", "--interval", "500ms", *arguments)
        controller.wait_ready()
        return controller

    def pool(self, *arguments: str, **environment: str) -> PoolClient:
        """Start a pool; return its controller's connection."""
        self.run("dynamic.pool", *arguments, **environment).wait_ready()
        return self.client()

    def client(self) -> PoolClient:
        """Return a connection to the pool that runs."""
        client = PoolClient(self.socket())
        self.stack.callback(client.close)
        return client

    def socket(self) -> Path:
        """Return where the pool that runs listens."""
        return eventually(lambda: [path for path in self.files() if path.suffix == ".sock"])[0]

    def files(self) -> list[Path]:
        """Return the sockets and locks of pools."""
        return list(self._folder.glob("lab-*/*"))

    def processes(self) -> list[psutil.Process]:
        """Return the processes of this rig: programs, and workers, which have their pool's command line."""
        found = []
        for process in psutil.process_iter():
            try:
                if self.namespace in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def assert_nothing_left(self) -> None:
        eventually(lambda: not self.processes(), within=END_SECONDS)
        assert self.files() == []

    def end_all(self) -> None:
        for process in self.processes():
            process.kill()
        eventually(lambda: not self.processes())

    def _delete_queues(self) -> None:
        names = self.names
        for queue in (*names.queues, names.count, names.done):
            ask_broker(self, lambda channel, queue=queue: channel.queue_delete(queue))  # type: ignore[misc]
        for exchange in (names.events, names.broadcast):
            ask_broker(self, lambda channel, name=exchange: channel.exchange_delete(name))  # type: ignore[misc]


class Load:
    """Events, and how often each of them was answered."""

    def __init__(self, rig: Rig, queue_type: str = "") -> None:
        self._names = rig.names
        self._done: Counter[str] = Counter()
        self._wrong: list[bytes] = []
        self.sent = 0
        self._stopping = threading.Event()
        self._completions = rig.stack.enter_context(Completions(rig.amqp_url, rig.names, self._finished))
        self._sender = rig.stack.enter_context(EventSender(rig.amqp_url, rig.names, queue_type))

    def send(self, events: int) -> None:
        for _ in range(events):
            self._sender.send(f"tonto {self.sent}", str(self.sent), time.monotonic_ns(), self._names.done)
            self.sent += 1

    @contextmanager
    def at(self, rate: float) -> Iterator[None]:
        """Send *rate* events per second meanwhile."""

        def send() -> None:
            while not self._stopping.wait(1 / rate):
                self.send(1)

        self._stopping.clear()
        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield
        finally:
            self.stop()
            thread.join()

    def stop(self) -> None:
        """Send no more."""
        self._stopping.set()

    @property
    def done(self) -> int:
        """Different events that were answered."""
        return sum(count > 0 for count in self._done.values())

    @property
    def repeated(self) -> int:
        """Answers beyond the first."""
        return self._done.total() - self.done

    def missing(self) -> list[str]:
        """Return the events that were not answered yet."""
        return [event_id for event_id in map(str, range(self.sent)) if not self._done.get(event_id)]

    def assert_none_lost(self, within: float = 60.0) -> None:
        assert self._sender.settle(within)

        def all_done() -> bool:
            missing = self.missing()
            assert not missing, f"{len(missing)} of {self.sent} are missing, such as {missing[:5]}"
            return True

        eventually(all_done, within=within)
        assert self._wrong == []

    def _finished(self, event_id: str, now_ns: int, answer: bytes) -> None:
        self._done[event_id] += 1
        if answer != f"CENSORED {event_id}".encode():
            self._wrong.append(answer)


def number(client: PoolClient, name: str) -> int:
    """Return one number of a pool's status."""
    return int(getattr(client.status(), name))


def workers(client: PoolClient, state: str = "ready") -> list[int]:
    """Return the process ids of the workers in *state*, the oldest first."""
    return [worker.pid for worker in client.status().workers if worker.state == state]


def ask_broker(rig: Rig, ask: Callable[[Any], object]) -> bool:
    """Let *ask* use a channel; False if the broker refuses."""
    try:
        with pika.BlockingConnection(pika.URLParameters(rig.amqp_url)) as connection:
            ask(connection.channel())
    except AMQPChannelError:
        return False
    return True


@pytest.fixture
def rig(amqp_url: str, redis_url: str) -> Iterator[Rig]:
    with Rig(amqp_url, redis_url) as rig:
        yield rig


@pytest.fixture
def load(rig: Rig) -> Load:
    return Load(rig)
