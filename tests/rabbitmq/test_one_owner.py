"""Only one node with its state in memory serves a namespace. Broadcasters share one broadcast."""

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

from lab.bootstrap import ROOT
from lab.contract import Application, Architecture
from lab.process.system import System
from lab.topology import BROADCASTER
from tests.conftest import StartSystem
from tests.eventually import eventually

DEADLINE_SECONDS = 60.0


@pytest.mark.parametrize("application", list(Application))
def test_a_second_node_with_its_state_in_memory_says_so_in_one_line_and_exits_2(
    start_system: StartSystem, amqp_url: str, application: Application
) -> None:
    first = start_system("rabbitmq", application)
    second = subprocess.run(
        [sys.executable, "-m", f"rabbitmq.insult_{application}", "--namespace", first.namespace],
        env={**os.environ, "LAB_AMQP_URL": amqp_url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert second.returncode == 2, second.stderr
    assert second.stdout == ""
    (line,) = second.stderr.splitlines()
    assert "serves this namespace already" in line
    assert_serves(first)


def assert_serves(system: System) -> None:
    if system.spec.application is Application.SERVICE:
        with system.service() as service:
            assert service.add_insult("tonto")
    else:
        with system.filter() as filters:
            assert filters.filter("tonto") == "CENSORED"


def test_a_node_that_was_killed_is_replaced(start_system: StartSystem) -> None:
    first = start_system("rabbitmq", Application.SERVICE)
    first.launcher.kill(first.nodes[0])
    first.add_node()
    assert_serves(first)


def test_two_broadcasters_send_each_tick_once(start_system: StartSystem) -> None:
    services = start_system("rabbitmq", Application.SERVICE, Architecture.N_NODE, interval="100ms")
    with ExitStack() as stack:
        client = stack.enter_context(services.service())
        client.add_insult("tonto")
        services.start(next(role for role in services._roles() if role.name == BROADCASTER))
        subscription = stack.enter_context(client.subscribe())
        assert client.start_broadcast()
        ticks = [subscription.receive(DEADLINE_SECONDS) for _ in range(20)]
        numbers = [tick.number for tick in ticks if tick]
        assert numbers == list(range(numbers[0], numbers[0] + 20))
        assert client.start_broadcast() is False
        assert client.stop_broadcast() is True
        eventually(lambda: subscription.receive(0.5) is None)
