"""The sessions of the README, each server in a process of its own, on the ports that the README shows."""

import doctest
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import pytest

from dynamic.events import EventNames
from dynamic.queues import EventQueues
from lab.bootstrap import ROOT
from lab.brokers.server import is_open
from lab.middlewares import MIDDLEWARES
from lab.settings import settings
from tests.eventually import eventually

README = (ROOT / "README.md").read_text(encoding="utf-8")
USUAL_PORTS = (8000, 8001, 8002, 8003, 8004, 9090)
PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Block:
    """What stands in one terminal: a command, and what it prints or is told."""

    command: str
    output: str

    @property
    def is_server(self) -> bool:
        """Tell whether it runs until it is ended."""
        return self.output.startswith('{"ready"')

    @property
    def dialogue(self) -> list[tuple[str, str]]:
        """What is typed at the prompts of a shell, and the answers."""
        return re.findall(r"^[\w-]+> (.+)\n((?:(?![\w-]+> ).+\n)*)", self.output, re.M)


def session(middleware: str) -> list[Block]:
    """Return the blocks of a middleware's session."""
    part = README.partition(f"<!-- session: {middleware} -->")[2].partition("\n### ")[0]
    return [Block(*block) for block in re.findall(r"^```console\n\$ ([^\n]+)\n(.*?)^```$", part, re.M | re.S)]


@pytest.fixture
def environment(redis_url: str, amqp_url: str, namespace: str) -> Iterator[dict[str, str]]:
    """What a terminal has after `lab up`, but with a throw-away namespace; the ports must be free."""
    taken = [port for port in USUAL_PORTS if is_open(port)]
    if taken:
        complain = pytest.fail if settings().require_brokers else pytest.skip
        complain(f"the README's ports are taken: {taken}")
    brokers = {"LAB_REDIS_URL": redis_url, "LAB_AMQP_URL": amqp_url, "LAB_NAMESPACE": namespace}
    yield {**os.environ, **brokers}
    MIDDLEWARES["rabbitmq"].delete_queues(amqp_url, namespace)


@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_a_session_shows_what_the_readme_says(
    middleware: str, environment: dict[str, str], namespace: str
) -> None:
    blocks = session(middleware)
    assert any(block.is_server for block in blocks)
    with ExitStack() as stack:
        for block in blocks:
            if block.is_server:
                said = stack.enter_context(server(block.command, environment))
                assert shows(block.output.replace("insults", namespace), said)
            elif block.dialogue:
                for typed, answer in block.dialogue:
                    # Each line until it is answered so: what one node stored, another knows within a second.
                    eventually(partial(is_answered, block.command, typed, answer, environment))
            else:
                assert shows(block.output, run(block.command, environment))


def test_the_scaling_session_shows_what_the_readme_says(
    environment: dict[str, str], amqp_url: str, namespace: str
) -> None:
    controller, publisher = session("dynamic")
    form = re.escape(controller.output.splitlines()[-1])
    line = re.compile(re.sub(r"\d+(\\\.\d+)?", r"[\\d.]+", form).replace(r"\.\.\.", ".*"))
    with EventQueues(amqp_url, EventNames(namespace), settings().queue_type) as queues:
        with subprocess.Popen(
            words(controller.command), cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                assert "0 ready" in process.stdout.readline()
                assert run(publisher.command, environment).endswith(publisher.output[-24:])
                process.send_signal(signal.SIGTERM)
                shown = process.stdout.read().splitlines()
                assert process.wait(PATIENCE_SECONDS) == 0
            finally:
                process.kill()
        assert queues.waiting() == 0
        queues.delete()
    assert any(line.fullmatch(one) and " 0 ready" not in one for one in shown)


def test_the_readme_shows_nothing_that_does_not_exist() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path


@contextmanager
def server(command: str, environment: dict[str, str]) -> Iterator[str]:
    """Start a server and give the line by which it says that it is ready; end it as Ctrl-C does not: TERM."""
    with subprocess.Popen(
        words(command), cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()


def is_answered(command: str, typed: str, answer: str, environment: dict[str, str]) -> bool:
    """Tell whether a shell answers *typed* with *answer*."""
    return shows(answer, run(command, environment, typed))


def run(command: str, environment: dict[str, str], typed: str = "") -> str:
    """Run *command* to its end; return what it printed."""
    return subprocess.run(
        words(command),
        cwd=ROOT,
        env=environment,
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    ).stdout


def words(command: str) -> list[str]:
    """Return the words of *command*, for this interpreter."""
    return [sys.executable, *shlex.split(command)[1:]]


def shows(expected: str, got: str) -> bool:
    """Compare; ``...`` and times of day stand for what varies."""
    timeless = re.sub(r"\d\d:\d\d:\d\d", "...", expected)
    return doctest.OutputChecker().check_output(timeless, got, doctest.ELLIPSIS)
