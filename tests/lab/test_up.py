"""``lab up`` and ``lab down``, as commands, in a copy of the lab: what they start is theirs alone."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from lab.bootstrap import ROOT
from lab.settings import settings
from lab.store.namespace import throwaway_namespace


class Lab:
    """A copy of the lab in a folder of its own, with commands to run in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for package in ("lab", "rabbitmq"):
            shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "requirements.txt", root)
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}
        self._environment["LAB_NAMESPACE"] = throwaway_namespace()  # `down --purge` deletes it everywhere

    def run(self, *arguments: str, **environment: str) -> str:
        """Run a command with more variables; return what it printed and said."""
        command = [sys.executable, "-m", "lab", *arguments]
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**self._environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if "no Redis" in done.stderr or "no RabbitMQ" in done.stderr:
            (pytest.fail if settings().require_brokers else pytest.skip)(done.stderr)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def processes(self) -> list[int]:
        """Return the process ids that are up."""
        state = self.root / ".lab" / "brokers.json"
        return [pid for broker in json.loads(state.read_text()) for pid in broker["pids"]]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose brokers are up."""
    lab = Lab(tmp_path_factory.mktemp("up") / "a lab")
    try:
        lab.run("up")
        yield lab
    finally:
        lab.run("down", "--purge")


def test_up_twice_says_that_they_are_up_already_and_starts_no_more(lab: Lab) -> None:
    before = lab.processes()
    said = lab.run("up")
    assert said.count("is up already") == 2
    assert lab.processes() == before


def test_what_is_stored_is_there_again_after_down_and_up(lab: Lab) -> None:
    with redis.Redis.from_url(_redis_url(lab.run("up"))) as client:
        client.set("kept", "yes")
    lab.run("down")
    with redis.Redis.from_url(_redis_url(lab.run("up"))) as client:
        assert client.get("kept") == b"yes"


def test_down_with_purge_leaves_no_process_and_no_data(lab: Lab) -> None:
    exported = dict(re.findall(r"export (\w+)='(.*)'", lab.run("up")))
    assert exported.keys() == {"LAB_REDIS_URL", "LAB_AMQP_URL"}
    started = lab.processes()
    lab.run("down", "--purge", **exported)  # in the terminal in which they were pasted
    assert not (lab.root / ".lab").exists()
    assert not any(_runs(pid) for pid in started)


def _redis_url(said: str) -> str:
    [line] = [line for line in said.splitlines() if line.startswith("export LAB_REDIS_URL=")]
    return line.partition("'")[2].rstrip("'")


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
