"""The compose file: what it says without an engine, its commands as processes here, and all of it in one."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lab.addresses import is_open
from lab.bootstrap import ROOT
from lab.brokers import rabbitmq_server, redis_server
from lab.middleware import MIDDLEWARES
from lab.settings import read_settings
from tests.eventually import eventually
from tests.sessions import here, is_answered, server

_DURATION = r"^(\d+(us|ms|s|m|h))+$"
_PORT = r"^\d+\.\d+\.\d+\.\d+:\d+:\d+$"
FILE = ROOT / "docker-compose.yml"
PREFIXES = {"xmlrpc": "xmlrpc-", "pyro4": "pyro4-", "redis_impl": "redis-", "rabbitmq": "rabbitmq-"}
"""Of the names of a middleware's nodes."""
CONTAINER_SECONDS = 900.0


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HealthCheck(_Strict):
    """How to tell that a service is healthy."""

    test: list[str] = Field(min_length=2)
    interval: str = Field(pattern=_DURATION)
    timeout: str = Field(pattern=_DURATION)
    retries: int = Field(gt=0)


class WaitedFor(_Strict):
    """When a service that another depends on is far enough."""

    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class Deploy(_Strict):
    """How many of a service there are."""

    replicas: int = Field(ge=0)


class Service(_Strict):
    """One service: a broker has an image of others, a node one that is built here."""

    image: str
    build: str = ""
    command: str | list[str] = ""
    hostname: str = ""
    profiles: list[str] = []
    restart: Literal["no", "always", "on-failure", "unless-stopped"] = "no"
    stop_grace_period: str = Field("10s", pattern=_DURATION)
    environment: dict[str, str] = {}
    depends_on: dict[str, WaitedFor] = {}
    ports: list[Annotated[str, Field(pattern=_PORT)]] = []
    volumes: list[str] = []
    healthcheck: HealthCheck | None = None
    deploy: Deploy | None = None

    @property
    def words(self) -> list[str]:
        """The words of its command."""
        return shlex.split(self.command) if isinstance(self.command, str) else self.command

    @property
    def line(self) -> str:
        """What a shell is given to run it."""
        if self.words[:2] == ["sh", "-c"]:
            return self.words[2].removeprefix("exec ")
        return shlex.join(self.words)


class ComposeFile(BaseModel):
    """The whole file; every reference in it leads to something."""

    services: dict[str, Service]
    volumes: dict[str, None] = {}
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_extensions(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in given.items() if not re.match("x-", key)}

    @model_validator(mode="after")
    def _refer_to_what_exists(self) -> Self:
        for name, service in self.services.items():
            if missing := set(service.depends_on) - set(self.services):
                raise ValueError(f"{name} depends on {missing}, which do not exist")
            if missing := {volume.partition(":")[0] for volume in service.volumes} - set(self.volumes):
                raise ValueError(f"{name} uses the volumes {missing}, which are not declared")
        return self


SERVICES = ComposeFile.model_validate(yaml.safe_load(FILE.read_text(encoding="utf-8"))).services

BROKERS = [name for name, service in SERVICES.items() if not service.build]

NODES = [name for name, service in SERVICES.items() if service.build]


def locally(command: str) -> str:
    """Return a command of a container for this machine, where all share a loopback address."""
    one_place = command.replace("$$(hostname -i)", "127.0.0.1").replace("0.0.0.0", "127.0.0.1")
    return re.sub(r"(?<=[ /])(xmlrpc-master|xmlrpc-broadcaster|pyro4-name-server)\b", "127.0.0.1", one_place)


def in_order(names: list[str]) -> Iterator[str]:
    """Yield *names*, each behind those that it waits for."""
    done: set[str] = set(BROKERS)
    while waiting := [name for name in names if name not in done]:
        ready = [name for name in waiting if set(SERVICES[name].depends_on) <= done]
        assert ready, f"{waiting} wait for each other"
        yield from ready
        done |= set(ready)


@pytest.mark.parametrize("broker", BROKERS)
def test_a_broker_is_pinned_to_a_release_and_says_when_it_is_healthy(broker: str) -> None:
    assert re.search(r":\d+\.\d+\.\d+", SERVICES[broker].image)
    assert SERVICES[broker].healthcheck


def test_the_brokers_are_where_the_lab_looks_for_them_and_on_loopback_only() -> None:
    published = {port for service in SERVICES.values() for port in service.ports}
    usual = {urlsplit(url).port for url in (redis_server.DEFAULT_URL, rabbitmq_server.DEFAULT_URL)}
    assert published == {f"127.0.0.1:{port}:{port}" for port in usual}


def test_redis_keeps_what_it_acknowledges() -> None:
    words = SERVICES["redis"].words
    assert words[words.index("--appendonly") + 1] == "yes"
    assert words[words.index("--appendfsync") + 1] == "always"


@pytest.mark.parametrize("node", NODES)
def test_a_node_is_started_on_demand_with_settings_that_exist_and_the_brokers_of_the_file(node: str) -> None:
    assert SERVICES[node].profiles == ["nodes"]
    given = read_settings(SERVICES[node].environment)
    assert urlsplit(given.redis_url).hostname in BROKERS
    assert urlsplit(given.amqp_url).hostname in BROKERS
    for name, waited_for in SERVICES[node].depends_on.items():
        assert waited_for.condition == "service_started" or SERVICES[name].healthcheck


def test_the_image_has_the_packages_that_nodes_run_and_no_other() -> None:
    copied = set(re.findall(r"^COPY (\w+) \w+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.M))
    run = {re.findall(r"-m (\w+)", service.line)[0] for service in SERVICES.values() if service.build}
    assert copied == run | {"lab"}
    allowed = set(re.findall(r"^!(\w+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.M))
    assert copied == allowed


@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_the_commands_make_a_system_that_answers(middleware: str, terminal: dict[str, str]) -> None:
    names = [name for name in NODES if name.startswith(PREFIXES[middleware])]
    assert len(names) >= 3
    with ExitStack() as stack:
        for name in in_order(names):
            assert '"ready": true' in stack.enter_context(server(locally(SERVICES[name].line), terminal)), (
                name
            )
            if probe := SERVICES[name].healthcheck:
                subprocess.run(["sh", "-c", here(shlex.join(probe.test[1:]))], check=True)
        shell = f"python3 -m lab shell {middleware} --architecture n-node"
        for typed, answer in (("add jolly buffoon", "stored\n"), ("filter a jolly buffoon", "a CENSORED\n")):
            eventually(partial(is_answered, shell, typed, answer, terminal))


def compose(*words: str, text: str = "") -> str:
    """Run ``docker compose`` for a project of its own; return what it printed."""
    command = ["docker", "compose", "--project-name", f"lab-test-{os.getpid()}", "--profile", "nodes", *words]
    done = subprocess.run(
        command, cwd=ROOT, input=text, capture_output=True, text=True, check=False, timeout=CONTAINER_SECONDS
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def has_engine() -> bool:
    """Tell whether a Docker engine answers, and has compose."""
    if not shutil.which("docker"):
        return False
    asked = (["docker", "info"], ["docker", "compose", "version"])
    return all(subprocess.run(one, capture_output=True, check=False).returncode == 0 for one in asked)


@pytest.mark.slow
def test_all_four_answer_in_containers() -> None:
    if not has_engine():
        pytest.skip("no Docker engine with compose answers here")
    if any(is_open(int(port.rpartition(":")[2])) for broker in BROKERS for port in SERVICES[broker].ports):
        pytest.skip("the ports of the compose file's brokers are taken here")
    try:
        compose("up", "--build", "--wait")
        for middleware, options in {
            "xmlrpc": ["--address", "http://xmlrpc-master:8000"],
            "pyro4": ["--address", "pyro4-name-server:9090"],
            "redis_impl": [],
            "rabbitmq": [],
        }.items():
            shell = ["python", "-m", "lab", "shell", middleware, "--architecture", "n-node", *options]
            said = compose("exec", "-T", f"{PREFIXES[middleware]}filter", *shell, text="filter a word\n")
            assert said.strip() == "a word"
    finally:
        compose("down", "--volumes", "--remove-orphans", "--timeout", "10")
