"""What SECURITY.md promises: nothing listens beyond loopback, and no secret is ever shown."""

import os
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import pytest

from lab.bootstrap import ROOT
from lab.contract import Application, Architecture
from lab.errors import LabError
from lab.middleware import MIDDLEWARES
from lab.process.system import System
from lab.settings import settings
from tests.conftest import StartSystem
from tests.eventually import eventually

KEY = "a-key-that-must-not-be-shown"
PASSWORD = "a-password-that-must-not-be-shown"
LOOPBACK = ("127.", "::1")


def processes_of(system: System) -> list[psutil.Process]:
    """Return every process of *system*, and their children."""
    started = [psutil.Process(handle.pid) for handles in system.handles.values() for handle in handles]
    return [one for process in started for one in (process, *process.children(recursive=True))]


def exposed(process: psutil.Process) -> list[str]:
    """Return where *process* can be reached from elsewhere: TCP that listens, UDP that is bound."""
    sockets = process.net_connections("inet")
    ours = [one for one in sockets if one.status == psutil.CONN_LISTEN or one.type.name == "SOCK_DGRAM"]
    return [f"{one.laddr.ip}:{one.laddr.port}" for one in ours if not one.laddr.ip.startswith(LOOPBACK)]


@pytest.mark.parametrize("architecture", Architecture)
@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_nothing_listens_beyond_loopback(
    start_system: StartSystem, middleware: str, architecture: Architecture
) -> None:
    for application in Application:
        system = start_system(middleware, application, architecture)
        if application is Application.SERVICE:
            subscription = system.service().subscribe()
        found = {process.pid: exposed(process) for process in processes_of(system)}
        assert not any(found.values()), found
    assert not exposed(psutil.Process()), "a subscriber can be reached from elsewhere"
    subscription.close()


@pytest.mark.parametrize("broker", ["redis_url", "amqp_url"])
def test_a_broker_of_ours_listens_on_loopback_only(broker: str, request: pytest.FixtureRequest) -> None:
    owners = listening_at(request.getfixturevalue(broker))
    if not owners:
        pytest.skip("the broker is not a process that can be seen from here")
    for pid in owners:
        assert not exposed(psutil.Process(pid))


def listening_at(url: str) -> set[int]:
    """Return the processes of a broker that can be seen from here."""
    port = urlsplit(url).port
    listening = [one for one in psutil.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    return {one.pid for one in listening if one.laddr and one.laddr.port == port and one.pid}


def password_of(url: str) -> str:
    password = urlsplit(url).password
    assert password
    assert len(password) >= 8, "too short to look for"
    return password


@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_a_password_stands_in_no_log_no_error_and_no_command_line(
    start_system: StartSystem, middleware: str, redis_url: str, amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = [password_of(url) for url in (redis_url, amqp_url)] + [KEY]
    with_key(monkeypatch)
    monkeypatch.setenv("LAB_LOG_LEVEL", "DEBUG")
    system = start_system(middleware, Application.FILTER, Architecture.N_NODE, nodes=1)
    with system.filter() as client:
        assert client.filter("tonto") == "CENSORED"
        assert client.submit("tonto")
    pids = [psutil.Process(pid) for url in (redis_url, amqp_url) for pid in listening_at(url)]
    shown = [" ".join(process.cmdline()) for process in (*processes_of(system), *pids)]
    system.launcher.stop(system.nodes[0])
    shown += [system.launcher.logs(handle) for handles in system.handles.values() for handle in handles]
    assert any(shown)
    for secret in secrets:
        assert not [text for text in shown if secret in text]


@pytest.mark.parametrize("module", [f"{name}.insult_filter" for name in MIDDLEWARES])
@pytest.mark.parametrize("is_there", [True, False], ids=["refused", "nobody there"])
def test_a_password_that_does_not_work_is_not_shown(
    module: str, is_there: bool, redis_url: str, amqp_url: str
) -> None:
    redis, amqp = (urlsplit(url).port if is_there else 1 for url in (redis_url, amqp_url))
    environment = {
        "LAB_REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{redis}/0",
        "LAB_AMQP_URL": f"amqp://user:{PASSWORD}@127.0.0.1:{amqp}/",
        "LAB_LOG_LEVEL": "DEBUG",
    }
    command = [sys.executable, "-m", module, "--architecture", "n-node", "--port", "0"]
    done = run(command, environment)
    assert done.returncode
    assert done.stderr
    assert PASSWORD not in done.stdout + done.stderr


def run(command: list[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(autouse=True)
def own_settings() -> Iterator[None]:
    """Let a test's LAB_* variables count for that test only."""
    yield
    settings.cache_clear()


def with_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_PYRO_KEY", KEY)
    settings.cache_clear()


@pytest.mark.parametrize("architecture", Architecture)
def test_with_a_key_a_whole_system_over_pyro4_works_and_others_are_kept_out(
    start_system: StartSystem, architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_key(monkeypatch)
    system = start_system("pyro4", Application.SERVICE, architecture, interval="200ms")
    with system.service() as client, client.subscribe() as ticks:
        assert client.add_insult("tonto") is True
        client.start_broadcast()
        assert eventually(lambda: ticks.receive(5.0))
    monkeypatch.delenv("LAB_PYRO_KEY")
    settings.cache_clear()
    with system.service(2.0) as stranger, pytest.raises(LabError, match="LAB_PYRO_KEY"):
        stranger.insult_me()
