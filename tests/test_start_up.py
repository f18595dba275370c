"""A process that cannot start says why in one line; none says that it is ready before its whole path is."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab.contract import Application, Architecture
from lab.errors import DeadlineExceeded, Unavailable
from lab.middleware import MIDDLEWARES
from lab.process.launcher import DidNotStart, LocalLauncher, ProcessSpec
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.topology import BROADCASTER, NODE, Role

N_NODE = Architecture.N_NODE
ROLES = [
    pytest.param(name, role, application, id=f"{name}-{role.name}-{application}")
    for name, middleware in MIDDLEWARES.items()
    for application in Application
    for role in middleware.topology().roles(N_NODE, application)
]
PASSWORD = "hunter2"


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
            if role.name not in (NODE, BROADCASTER):  # a master or a name server needs no broker
                launcher.start(replace(process, environment=away))
                return
            for url in away if middleware == "rabbitmq" else ["LAB_REDIS_URL"]:
                said = refusal(
                    launcher, replace(process, environment={**process.environment, url: away[url]})
                )
                assert "UNAVAILABLE" in said
                assert "is it running?" in said
        finally:
            system.close()


@pytest.mark.parametrize("middleware", [name for name, one in MIDDLEWARES.items() if one.is_direct])
def test_a_port_that_is_taken_is_said(middleware: str) -> None:
    role = MIDDLEWARES[middleware].topology().one_node[0]
    with LocalLauncher() as launcher, socket.create_server(("127.0.0.1", 0)) as somebody:
        port = str(somebody.getsockname()[1])
        module = role.module.format(application=Application.FILTER)
        said = refusal(launcher, ProcessSpec(role.name, module, ("--port", port)))
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "try another --port" in said


@pytest.mark.parametrize("middleware", MIDDLEWARES)
@pytest.mark.parametrize("option", ["--work-time=60s", "--work-cpu=60s"])
def test_a_node_is_ready_however_long_its_declared_work_is(
    redis_url: str, amqp_url: str, middleware: str, option: str
) -> None:
    spec = SystemSpec(middleware, Application.FILTER, node_arguments=(option,))
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


@pytest.mark.parametrize("said", ["no JSON", "{}", "[]", "{", "7", '{"address"'])
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
