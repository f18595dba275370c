"""The two stores that the store's tests run over, the time that passes for them, and copies of the lab."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, cast

import psutil
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from lab.bootstrap import ROOT
from lab.errors import LabError
from lab.process.system import System
from lab.settings import settings as lab_settings
from lab.store import MemoryStore, Store
from lab.store.namespace import delete_namespace, throwaway_namespace
from lab.store.redis_store import RedisStore, connect
from tests.eventually import eventually

MakeStore = Callable[[], Store]
OpenRedis = Callable[[str], RedisStore]
OpenStore = Callable[[], tuple[Store, Callable[[], object]]]
"""Returns an empty store, for one of many runs, and what to call at its end."""
Later = Callable[[float], None]


class Clock:
    """Takes the place of the module ``time``: who sleeps moves it on and does not wait."""

    def __init__(self) -> None:
        self.started = 100.0
        self.now = self.started

    @property
    def elapsed(self) -> float:
        """How many seconds have passed since the start."""
        return round(self.now - self.started, 6)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


@pytest.fixture
def open_redis(redis_url: str) -> Iterator[OpenRedis]:
    """Open stores in Redis by their namespace; close them."""
    with ExitStack() as stack:
        yield lambda namespace: stack.enter_context(closing(RedisStore(redis_url, namespace)))


@pytest.fixture(params=["memory", "redis"])
def store_kind(request: pytest.FixtureRequest) -> str:
    """The kind of store."""
    return str(request.param)


@pytest.fixture
def time_passed() -> list[float]:
    """The spans, in seconds, that a test let pass for the store in memory."""
    return []


@pytest.fixture
def make_store(
    request: pytest.FixtureRequest, store_kind: str, time_passed: list[float]
) -> Iterator[MakeStore]:
    """Open an empty store of each kind, once per test: what it is built from can be changed before."""
    if store_kind == "memory":
        yield lambda: MemoryStore(lambda: time.monotonic() + sum(time_passed))
        return
    open_redis, namespace = request.getfixturevalue("open_redis"), request.getfixturevalue("namespace")
    yield lambda: open_redis(namespace)


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    """An empty store of each kind."""
    return make_store()


@pytest.fixture
def open_store(request: pytest.FixtureRequest, store_kind: str) -> OpenStore:
    """Open an empty store of each kind for each of many runs."""
    if store_kind == "memory":
        return lambda: (MemoryStore(), lambda: None)
    url, open_redis = request.getfixturevalue("redis_url"), request.getfixturevalue("open_redis")

    def open_empty() -> tuple[Store, Callable[[], object]]:
        namespace = throwaway_namespace()
        return open_redis(namespace), lambda: delete_namespace(url, namespace)

    return open_empty


def run_machine(make: Callable[[], RuleBasedStateMachine], examples: int) -> None:
    """Run the machine that *make* returns so many times, 40 steps each."""
    checks = [HealthCheck.too_slow]
    run_state_machine_as_test(
        cast(type[RuleBasedStateMachine], make),
        settings=settings(
            max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=checks
        ),
    )


@pytest.fixture
def later(request: pytest.FixtureRequest, store_kind: str, time_passed: list[float]) -> Later:
    """Let so many seconds pass for the store; nobody waits for them."""
    if store_kind == "memory":
        return time_passed.append
    url, namespace = request.getfixturevalue("redis_url"), request.getfixturevalue("namespace")
    return lambda seconds: age(url, namespace, seconds)


def age(url: str, namespace: str, seconds: float) -> None:
    """Make what is stored in *namespace* older by *seconds* (lab/store/namespace.py names it)."""
    with connect(url) as connection:
        client: Any = connection
        for key in client.scan_iter(f"{namespace}:*"):
            if client.type(key) == "zset" and key != f"{namespace}:insults":
                for member in client.zrange(key, 0, -1):
                    client.zincrby(key, -seconds, member)
            elif (left := client.pttl(key)) > 0:
                client.pexpire(key, left - int(1000 * seconds))


@contextmanager
def submitted(system: System, *refusals: type[LabError]) -> Iterator[dict[str, str]]:
    """Submit texts all the time; give the results that those must have which were acknowledged.

    *refusals* are errors with which a text may be refused.
    """
    accepted: dict[str, str] = {}
    is_over = threading.Event()

    def submit() -> None:
        with system.filter() as client:
            for number in count():
                if is_over.wait(0.005):
                    return
                with suppress(*refusals):
                    accepted[client.submit(f"{number} tonto")] = f"{number} CENSORED"

    submitting = threading.Thread(target=submit)
    submitting.start()
    try:
        yield accepted
    finally:
        is_over.set()
        submitting.join()


def await_more(accepted: dict[str, str]) -> None:
    """Wait until 30 more texts were acknowledged."""
    enough = len(accepted) + 30
    eventually(lambda: len(accepted) > enough, within=15.0)


class Served(NamedTuple):
    """A system that a copy of the lab serves."""

    process: "subprocess.Popen[bytes]"
    said: Callable[[], str]


class LabCopy:
    """A copy of the lab in a folder of its own, with its own temporary files, and commands to run in it."""

    def __init__(self, folder: Path) -> None:
        self.root, self.temporary = folder / "a lab", folder / "tmp"
        for package in ("lab", "xmlrpc", "pyro4", "redis_impl", "rabbitmq"):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, self.root / package, ignore=ignore)
        shutil.copy(ROOT / "requirements.txt", self.root)
        self.temporary.mkdir()
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}
        self.environment |= {"TMPDIR": str(self.temporary), "LAB_NAMESPACE": throwaway_namespace()}

    def start(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command with more variables, which may fail, to its end."""
        return self.python("-m", "lab", *arguments, **environment)

    def python(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run Python in this lab."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.root,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *arguments: str, **environment: str) -> str:
        """Run a command; return what it printed and said."""
        done = self.start(*arguments, **environment)
        if "no Redis" in done.stderr or "no RabbitMQ" in done.stderr:
            (pytest.fail if lab_settings().require_brokers else pytest.skip)(done.stderr)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[Served]:
        """Serve a system until the end of the block."""
        said = self.temporary / f"served {len(list(self.temporary.iterdir()))}"
        command = [sys.executable, "-m", "lab", "serve", *arguments]
        with (
            said.open("wb") as log,
            subprocess.Popen(
                command, cwd=self.root, env=self.environment, stdin=subprocess.DEVNULL, stderr=log
            ) as process,
        ):
            try:
                eventually(lambda: "Ctrl-C ends it" in said.read_text() or process.poll() is not None, 60.0)
                assert process.poll() is None, said.read_text()
                yield Served(process, said.read_text)
            finally:
                process.send_signal(signal.SIGINT)

    @property
    def state(self) -> Path:
        """Where it is written what is up."""
        return self.root / ".lab" / "brokers.json"

    def up(self) -> dict[str, dict[str, Any]]:
        """Return what is up, by kind, as it is written."""
        written = json.loads(self.state.read_text()) if self.state.exists() else []
        return {broker["kind"]: broker for broker in written}

    def processes(self) -> list[int]:
        """Return the process ids that are up."""
        return [pid for broker in self.up().values() for pid in broker["pids"]]


def runs(pid: int) -> bool:
    """Tell whether a process runs."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
