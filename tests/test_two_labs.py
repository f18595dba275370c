"""Two labs at once on one machine, in two folders and in one: neither disturbs the other, or ends with it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from lab.bootstrap import ROOT
from lab.settings import settings

pytestmark = pytest.mark.usual_ports

SECONDS = 30
Start = Callable[..., "Running"]


class Running:
    """``lab serve redis_impl service`` in a folder, and clients as other terminals start them there."""

    def __init__(self, folder: Path, namespace: str, environment: dict[str, str]) -> None:
        self._folder, self._namespace, self._environment = folder, namespace, environment
        self.said: list[str] = []
        options = ["redis_impl", "service", "--namespace", namespace]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lab", "serve", *options],
            cwd=folder,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in self._process.stderr or ():
            self.said.append(line)
            if "Ctrl-C ends it" in line:
                return
        said = "".join(self.said)
        (pytest.fail if settings().require_brokers or "no Redis" not in said else pytest.skip)(said)

    def add(self, insult: str, url: str = "") -> str:
        """Add *insult* through a client that is a process of its own; return all insults there are then."""
        script = (
            "import json, sys; from lab.contract import *; from lab.middleware import MIDDLEWARES as all\n"
            "mw = all['redis_impl']; where = mw.default_address(Architecture.ONE_NODE, Application.SERVICE)\n"
            "with mw.service_client(Target(where, Architecture.ONE_NODE, sys.argv[1])) as client:\n"
            "    client.add_insult(sys.argv[2]); print(json.dumps(client.get_insults()))\n"
        )
        given = {"LAB_REDIS_URL": url} if url else {}
        done = subprocess.run(
            [sys.executable, "-c", script, self._namespace, insult],
            cwd=self._folder,
            env={**self._environment, **given},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.returncode, done.stderr
        return done.stdout.strip()

    def announced_url(self) -> str:
        """Return where the Redis is that other terminals in this folder find."""
        return str(json.loads((self._folder / ".lab" / "brokers.json").read_text())[0]["url"])

    def own_url(self) -> str:
        """Return where the Redis is that its node uses."""
        children = [process.environ() for process in psutil.Process(self._process.pid).children()]
        return next(one["LAB_REDIS_URL"] for one in children if "LAB_REDIS_URL" in one)

    def end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=SECONDS)


@pytest.fixture
def serve() -> Iterator[Start]:
    with ExitStack() as stack:

        def start(folder: Path, namespace: str) -> Running:
            environment = {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}
            running = Running(folder, namespace, environment)
            stack.callback(running.end)
            return running

        yield start


def copy(folder: Path) -> Path:
    for package in ("lab", "redis_impl"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.txt", folder)
    return folder


def test_two_labs_in_two_folders_know_nothing_of_each_other(serve: Start, tmp_path: Path) -> None:
    one, other = serve(copy(tmp_path / "one"), "insults"), serve(copy(tmp_path / "other"), "insults")
    assert one.add("tonto") == '["tonto"]'
    assert other.add("lelo") == '["lelo"]'
    one.end()
    assert other.add("bobo") == '["bobo", "lelo"]'


def test_two_systems_in_one_folder_end_each_by_itself(serve: Start, tmp_path: Path) -> None:
    folder = copy(tmp_path / "lab")
    first, second = serve(folder, "first"), serve(folder, "second")
    assert any("other terminals find another's redis" in line for line in second.said)
    assert first.announced_url() == first.own_url() != second.own_url()
    assert first.add("tonto") == '["tonto"]'
    third = serve(folder, "third")
    third.end()
    assert first.add("lelo") == '["lelo", "tonto"]'
    first.end()
    assert second.add("bobo", second.own_url()) == '["bobo"]'
