"""The life of processes and systems: a failed start says why, an end loses nothing, and nothing is left."""

import gc
import itertools
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import redis

from lab.brokers.rabbitmq_server import queue_names
from lab.contract import Application, Architecture
from lab.errors import DeadlineExceeded, LabError, Unavailable
from lab.middleware import MIDDLEWARES
from lab.process.launcher import DidNotStart, LocalLauncher, ProcessSpec
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.store.namespace import throwaway_namespace
from lab.topology import BROADCASTER, NODE, Role
from tests.conftest import system_for
from tests.eventually import eventually

N_NODE = Architecture.N_NODE
ROLES = [
    pytest.param(name, role, application, id=f"{name}-{role.name}-{application}")
    for name, middleware in MIDDLEWARES.items()
    for application in Application
    for role in middleware.topology().roles(N_NODE, application)
    if role.name in (NODE, BROADCASTER)  # a master or a name server needs no broker
]
PASSWORD = "hunter2"
CLIENTS = 4
ACCEPTED_BEFORE = 40
APPLIED_WITHIN = 20.0
DEADLINE_SECONDS = 2.0
ROUNDS = 2
ANSWERS_WITHIN = 20.0


@pytest.fixture
def nowhere() -> Iterator[int]:
    """A port at which nobody listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield closed.getsockname()[1]


class Starter(System):
    """A system whose processes are started one by one, each told brokers of its own."""

    def until(self, name: str) -> ProcessSpec:
        """Start every role before the role *name*; return how the system would start that."""
        for role in self._roles():
            if role.name == name:
                break
            self.start(role)
        return self._process(role)


@pytest.mark.parametrize(("middleware", "role", "application"), ROLES)
def test_a_process_whose_brokers_are_away_is_not_ready_and_says_why(
    redis_url: str, amqp_url: str, nowhere: int, middleware: str, role: Role, application: Application
) -> None:
    spec = SystemSpec(middleware, application, N_NODE)
    with LocalLauncher() as launcher:
        system = Starter(spec, BrokerUrls(redis_url, amqp_url))
        try:
            process = system.until(role.name)
            away = {
                "LAB_REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{nowhere}/0",
                "LAB_AMQP_URL": f"amqp://lab:{PASSWORD}@127.0.0.1:{nowhere}/%2F",
            }
            for url in away if middleware == "rabbitmq" else ["LAB_REDIS_URL"]:
                said = refusal(
                    launcher, replace(process, environment={**process.environment, url: away[url]})
                )
                assert "UNAVAILABLE" in said
                assert "is it running?" in said
        finally:
            system.close()


@pytest.mark.parametrize("middleware", [name for name, one in MIDDLEWARES.items() if one.is_direct])
def test_a_port_that_is_taken_is_reported(middleware: str) -> None:
    role = MIDDLEWARES[middleware].topology().one_node[0]
    with LocalLauncher() as launcher, socket.create_server(("127.0.0.1", 0)) as somebody:
        port = str(somebody.getsockname()[1])
        module = role.module.format(application=Application.FILTER)
        said = refusal(launcher, ProcessSpec(role.name, module, ("--port", port)))
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "try another --port" in said


@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_a_node_is_ready_however_long_its_declared_work_is(
    redis_url: str, amqp_url: str, middleware: str
) -> None:
    options = ("--work-time=60s", "--work-cpu=60s")
    spec = SystemSpec(middleware, Application.FILTER, node_arguments=options)
    with System(spec, BrokerUrls(redis_url, amqp_url)) as system:
        assert len(system.nodes) == 1


def test_a_canary_that_comes_too_late_names_the_options_of_the_node() -> None:
    program = (
        "import sys; from lab.errors import DeadlineExceeded; from lab.process.node import run\n"
        "class Late:\n"
        "    def start(self): return 'here'\n"
        "    def canary(self): raise DeadlineExceeded('no answer')\n"
        "    def join(self): pass\n"
        "    def drain(self, timeout_seconds): pass\n"
        "sys.exit(run('late', Late))"
    )
    command = [sys.executable, "-c", program, "--insults", "huge.txt"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr == "late: DEADLINE_EXCEEDED: no answer (the node's options: --insults huge.txt)\n"


def test_a_process_that_says_half_a_line_is_ended_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "half_a_line.py"
    module.write_text("import time; print('{', end='', flush=True); time.sleep(300)", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with LocalLauncher() as launcher:
        handle = launcher.spawn(ProcessSpec("half", "half_a_line"))
        with pytest.raises(DeadlineExceeded, match="not ready after 1 s"):
            launcher.wait_ready(handle, 1.0)
        assert not launcher.alive(handle)


@pytest.mark.parametrize("said", ["no JSON", "{}", "{"])
def test_a_process_that_says_something_else_did_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    (tmp_path / "other_words.py").write_text(f"print({said!r})", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with LocalLauncher() as launcher, pytest.raises(DidNotStart, match="other did not start"):
        launcher.start(ProcessSpec("other", "other_words"))


def refusal(launcher: LocalLauncher, spec: ProcessSpec) -> str:
    """Start *spec*, which must fail; return the line that says why, the only one but warnings of its log."""
    handle = launcher.spawn(spec)
    with pytest.raises(Unavailable) as failure:
        launcher.wait_ready(handle)
    words = launcher.logs(handle)
    assert "Traceback" not in words
    assert PASSWORD not in words
    assert len(failure.value.message.splitlines()) == 1
    return failure.value.message


class Load:
    """Clients that send until told to stop, and what was acknowledged to them."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._stopping = threading.Event()
        self.acknowledged: list[str] = []
        self.wrong: list[str] = []
        is_service = system.spec.application is Application.SERVICE
        self._send: Callable[[int], None] = self._add if is_service else self._submit

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._send, args=(client,)) for client in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def _add(self, sender: int) -> None:
        with self._system.service(DEADLINE_SECONDS) as client:
            for number in itertools.takewhile(lambda _: not self._stopping.is_set(), itertools.count()):
                with suppress(LabError):
                    insult = f"q{sender}x{number}"
                    (self.acknowledged if client.add_insult(insult) else self.wrong).append(insult)

    def _submit(self, sender: int) -> None:
        with self._system.filter(DEADLINE_SECONDS) as client:
            for number in itertools.takewhile(lambda _: not self._stopping.is_set(), itertools.count()):
                with suppress(LabError):
                    self.acknowledged.append(client.submit(f"tonto {number}"))
                    if client.filter(f"tonto {sender}") != f"CENSORED {sender}":
                        self.wrong.append(str(number))


@pytest.mark.parametrize("application", Application)
@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_a_system_that_is_stopped_under_load_drains_loses_nothing_and_leaves_nothing(
    request: pytest.FixtureRequest, middleware: str, application: Application
) -> None:
    kept = throwaway_namespace()  # not the system's own, which ends with it: what it did is looked at
    spec = SystemSpec(middleware, application, Architecture.N_NODE, nodes=2, namespace=kept)
    system = system_for(request, spec)
    try:
        with system:
            load = Load(system)
            with load.running():
                eventually(lambda: len(load.acknowledged) >= ACCEPTED_BEFORE, APPLIED_WITHIN)
                system.close()
            handles = [handle for handles in system.handles.values() for handle in handles]
            for handle in handles:  # one that does not drain within DRAIN_SECONDS is killed by its launcher
                assert system.launcher.wait(handle) == 0, handle.spec
                assert not psutil.pid_exists(handle.pid)
        assert not load.wrong
        with system_for(request, spec) as again:  # what a queue accepted waits there for nodes
            assert_applied(again, load.acknowledged)
    finally:
        system.delete_namespace()
    assert_gone(request, spec, kept)


def assert_applied(system: System, acknowledged: list[str]) -> None:
    if system.spec.application is Application.SERVICE:
        eventually(lambda: set(acknowledged) <= insults(system), APPLIED_WITHIN)
        return
    with system.filter() as client:
        for petition_id in acknowledged:
            assert client.result(petition_id, APPLIED_WITHIN).startswith("CENSORED ")


def insults(system: System) -> set[str]:
    found: list[str] = []
    with system.service() as client:
        while page := client.get_insults(found[-1] if found else ""):
            found += page
    return set(found)


def assert_gone(request: pytest.FixtureRequest, spec: SystemSpec, namespace: str) -> None:
    """Look at the brokers themselves, not at the names that we know."""
    if "redis" in spec.needed_brokers:
        with redis.Redis.from_url(request.getfixturevalue("redis_url")) as client:
            assert list(client.scan_iter(match=f"{namespace}*", count=1000)) == []
    if "rabbitmq" in spec.needed_brokers:
        names = queue_names(request.getfixturevalue("amqp_url"))
        if names is not None:
            assert [name for name in names if name.startswith(namespace)] == []


@pytest.mark.usefixtures("redis_url", "amqp_url")  # first: the brokers' folders are not the systems'
@pytest.mark.parametrize("middleware", ["xmlrpc", "rabbitmq"])
def test_systems_started_and_stopped_leave_no_open_file_folder_thread_or_process(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, middleware: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spec = SystemSpec(middleware, Application.FILTER, Architecture.N_NODE, nodes=2)

    def one_round() -> None:
        with system_for(request, spec, supervised=True) as system:
            with system.filter(15.0) as client:
                assert client.filter("tonto") == "CENSORED"
            kill_one(system)
        assert not any(tmp_path.iterdir())

    one_round()  # what is opened once, on first use, is not a leak
    before = open_things()
    for _ in range(ROUNDS):
        one_round()
    eventually(lambda: no_more(open_things(), before))


def test_starts_that_fail_leave_no_open_file_and_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = open_things()
    for _ in range(ROUNDS):
        with pytest.raises(Unavailable), LocalLauncher() as launcher:
            launcher.start(ProcessSpec("node", "xmlrpc.insult_filter", ("--insults", "/nowhere")))
    assert no_more(open_things(), before)
    assert not any(tmp_path.iterdir())


def kill_one(system: System) -> None:
    """Let the supervisor replace a node."""
    [first, *_] = system.nodes
    system.launcher.kill(first)
    eventually(lambda: first not in system.nodes, ANSWERS_WITHIN)


def open_things() -> tuple[int, int, int]:
    """Count our open files, threads and child processes."""
    gc.collect()
    return (
        psutil.Process().num_fds(),
        threading.active_count(),
        len(psutil.Process().children(recursive=True)),
    )


def no_more(now: tuple[int, int, int], before: tuple[int, int, int]) -> bool:
    return all(one <= other for one, other in zip(now, before, strict=True))
