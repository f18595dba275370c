"""The compose file, without an engine: pinned, on loopback, health-checked, and its commands are ours."""

import re
import shlex
import subprocess
import sys
from typing import Any, cast

import pytest
import yaml

from lab.bootstrap import ROOT
from lab.settings import read_settings

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
BROKERS = [name for name, service in SERVICES.items() if "build" not in service]
NODES = [name for name in SERVICES if name not in BROKERS]


def _words(service: str) -> list[str]:
    """Return the words after ``python -m`` of what *service* runs."""
    command = SERVICES[service]["command"]
    words = command if isinstance(command, list) else shlex.split(command)
    if words[0] == "sh":
        words = shlex.split(words[2])
    return cast(list[str], words[words.index("-m") + 1 :])


@pytest.mark.parametrize("broker", BROKERS)
def test_a_broker_is_pinned_to_a_release(broker: str) -> None:
    assert re.search(r":\d+\.\d+\.\d+", SERVICES[broker]["image"])


@pytest.mark.parametrize("broker", BROKERS)
def test_a_broker_says_when_it_is_healthy(broker: str) -> None:
    assert {"test", "interval", "timeout", "retries"} <= set(SERVICES[broker]["healthcheck"])


def test_redis_keeps_what_it_acknowledges() -> None:
    words = SERVICES["redis"]["command"]
    assert words[words.index("--appendonly") + 1] == "yes"
    assert words[words.index("--appendfsync") + 1] == "always"


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_is_published_beyond_loopback(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", []))


@pytest.mark.parametrize("node", NODES)
def test_a_node_waits_for_services_that_exist(node: str) -> None:
    for name, condition in SERVICES[node]["depends_on"].items():
        needs_health = condition["condition"] == "service_healthy"
        assert not needs_health or "healthcheck" in SERVICES[name]


@pytest.mark.parametrize("node", NODES)
def test_a_node_is_started_only_on_demand(node: str) -> None:
    assert SERVICES[node]["profiles"] == ["nodes"]


@pytest.mark.parametrize("node", NODES)
def test_a_node_is_given_settings_and_options_that_it_knows(node: str) -> None:
    read_settings(SERVICES[node]["environment"])
    module, *options = _words(node)
    command = [sys.executable, "-m", module, *options, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    given = {option for option in options if option.startswith("--")}
    assert given <= set(re.findall(r"--[a-z-]+", done.stdout))


def test_all_four_middlewares_have_nodes() -> None:
    modules = {_words(node)[0] for node in NODES}
    for package in ("xmlrpc", "pyro4", "redis_impl", "rabbitmq"):
        assert {f"{package}.insult_service", f"{package}.insult_filter", f"{package}.broadcaster"} <= modules
