"""The compose file: what it says without an engine, its commands as processes here, and all of it in one."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from lab.addresses import is_open
from lab.bootstrap import ROOT
from lab.brokers import rabbitmq_server, redis_server
from lab.middleware import MIDDLEWARES
from lab.settings import read_settings
from tests.eventually import eventually
from tests.sessions import here, is_answered, server

FILE = ROOT / "docker-compose.yml"
PREFIXES = {"xmlrpc": "xmlrpc-", "pyro4": "pyro4-", "redis_impl": "redis-", "rabbitmq": "rabbitmq-"}
"""Of the names of a middleware's nodes."""
CONTAINER_SECONDS = 900.0
KEYS = {
    *("build", "command", "depends_on", "deploy", "environment", "healthcheck", "hostname", "image", "ports"),
    *("profiles", "restart", "stop_grace_period", "volumes"),
}


COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BROKERS = [name for name, service in SERVICES.items() if "build" not in service]
NODES = [name for name, service in SERVICES.items() if "build" in service]


def words_of(service: dict[str, Any]) -> list[str]:
    """Return the words of its command."""
    command = service.get("command", "")
    return shlex.split(command) if isinstance(command, str) else command


def line_of(service: dict[str, Any]) -> str:
    """Return what a shell is given to run it."""
    words = words_of(service)
    return words[2].removeprefix("exec ") if words[:2] == ["sh", "-c"] else shlex.join(words)


def locally(command: str) -> str:
    """Return a command of a container for this machine, where all share a loopback address."""
    one_place = command.replace("$$(hostname -i)", "127.0.0.1").replace("0.0.0.0", "127.0.0.1")
    return re.sub(r"(?<=[ /])(xmlrpc-master|xmlrpc-broadcaster|pyro4-name-server)\b", "127.0.0.1", one_place)


def in_order(names: list[str]) -> Iterator[str]:
    """Yield *names*, each behind those that it waits for."""
    done: set[str] = set(BROKERS)
    while waiting := [name for name in names if name not in done]:
        ready = [name for name in waiting if set(SERVICES[name].get("depends_on", ())) <= done]
        assert ready, f"{waiting} wait for each other"
        yield from ready
        done |= set(ready)


def test_every_key_of_a_service_is_known_and_every_name_that_it_uses_exists() -> None:
    for name, service in SERVICES.items():
        assert service.keys() <= KEYS, name
        assert service.get("depends_on", {}).keys() <= SERVICES.keys(), name
        assert {volume.partition(":")[0] for volume in service.get("volumes", ())} <= set(COMPOSE["volumes"])


@pytest.mark.parametrize("broker", BROKERS)
def test_a_broker_is_pinned_to_a_release_and_says_when_it_is_healthy(broker: str) -> None:
    assert re.search(r":\d+\.\d+\.\d+", SERVICES[broker]["image"])
    assert SERVICES[broker]["healthcheck"]


def test_the_brokers_are_where_the_lab_looks_for_them_and_on_loopback_only() -> None:
    published = {port for service in SERVICES.values() for port in service.get("ports", ())}
    usual = {urlsplit(url).port for url in (redis_server.DEFAULT_URL, rabbitmq_server.DEFAULT_URL)}
    assert published == {f"127.0.0.1:{port}:{port}" for port in usual}


def test_redis_keeps_what_it_acknowledges() -> None:
    words = words_of(SERVICES["redis"])
    assert words[words.index("--appendonly") + 1] == "yes"
    assert words[words.index("--appendfsync") + 1] == "always"


@pytest.mark.parametrize("node", NODES)
def test_a_node_is_started_on_demand_with_settings_that_exist_and_the_brokers_of_the_file(node: str) -> None:
    assert SERVICES[node]["profiles"] == ["nodes"]
    given = read_settings(SERVICES[node].get("environment", {}))
    assert urlsplit(given.redis_url).hostname in BROKERS
    assert urlsplit(given.amqp_url).hostname in BROKERS
    for name, waited_for in SERVICES[node].get("depends_on", {}).items():
        assert waited_for["condition"] == "service_started" or SERVICES[name]["healthcheck"]


def test_the_image_has_the_packages_that_nodes_run_and_no_other() -> None:
    copied = set(re.findall(r"^COPY (\w+) \w+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.M))
    run = {re.findall(r"-m (\w+)", line_of(SERVICES[name]))[0] for name in NODES}
    assert copied == run | {"lab"}
    allowed = set(re.findall(r"^!(\w+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.M))
    assert copied == allowed


@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_the_commands_make_a_system_that_answers(middleware: str, terminal: dict[str, str]) -> None:
    names = [name for name in NODES if name.startswith(PREFIXES[middleware])]
    assert len(names) >= 3
    with ExitStack() as stack:
        for name in in_order(names):
            assert '"ready": true' in stack.enter_context(
                server(locally(line_of(SERVICES[name])), terminal)
            ), name
            if probe := SERVICES[name].get("healthcheck"):
                subprocess.run(["sh", "-c", here(shlex.join(probe["test"][1:]))], check=True)
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
    if any(is_open(int(port.rpartition(":")[2])) for broker in BROKERS for port in SERVICES[broker]["ports"]):
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
