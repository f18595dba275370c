"""A process that cannot start says why in one line; none says that it is ready before its whole path is."""

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab.contract import Application, Architecture
from lab.errors import Unavailable
from lab.middlewares import MIDDLEWARES
from lab.process.launcher import LocalLauncher, ProcessSpec
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
    """A cluster whose processes are started one by one, each told brokers of its own."""

    def until(self, name: str) -> ProcessSpec:
        """Start every role before the role *name*; return how the cluster would start that."""
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
