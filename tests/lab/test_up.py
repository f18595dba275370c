"""`lab up` and `lab down` in copies of the lab: what they start is theirs alone; two labs at once."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
import redis

from lab.bootstrap import ROOT
from lab.settings import settings
from lab.store.namespace import throwaway_namespace
from tests.eventually import eventually

pytestmark = pytest.mark.usefixtures("usual_ports")
SECONDS = 30
Start = Callable[..., "Running"]


class Lab:
    """A copy of the lab in a folder of its own, with commands to run in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for package in ("lab", "xmlrpc", "pyro4", "redis_impl", "rabbitmq"):
            shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "requirements.txt", root)
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}
        self._environment["LAB_NAMESPACE"] = throwaway_namespace()  # `down --purge` deletes it everywhere

    def run(self, *arguments: str, **environment: str) -> str:
        """Run a command with more variables; return what it printed and said."""
        done = self.start(*arguments, **environment)
        if "no Redis" in done.stderr or "no RabbitMQ" in done.stderr:
            (pytest.fail if settings().require_brokers else pytest.skip)(done.stderr)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def start(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command, which may fail, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "lab", *arguments],
            cwd=self.root,
            env={**self._environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    @contextmanager
    def running(self, *arguments: str) -> Iterator[None]:
        """Run a system until the end of the block."""
        with (
            tempfile.NamedTemporaryFile("r") as said,
            subprocess.Popen(
                [sys.executable, "-m", "lab", *arguments],
                cwd=self.root,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stderr=said.fileno(),
            ) as process,
        ):
            try:
                eventually(lambda: "Ctrl-C ends it" in Path(said.name).read_text(), 60.0)
                yield
            finally:
                process.send_signal(signal.SIGINT)

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


def test_killed_brokers_come_back_at_the_same_port_with_the_same_password(lab: Lab) -> None:
    before, started = exported(lab.run("up")), lab.processes()
    with redis.Redis.from_url(before["LAB_REDIS_URL"]) as client:
        client.set("survivor", "yes")
        [server, *others] = [psutil.Process(pid) for pid in started]
        for process in (server, *(one for one in others if one.name() != "epmd")):
            process.kill()
        eventually(lambda: not any(_runs(process.pid) for process in (server, others[0])))
        assert exported(lab.run("up")) == before
        assert client.get("survivor") == b"yes"  # one that was connected finds it again
    assert not any(_runs(pid) for pid in started)  # nor is the epmd of the first RabbitMQ left


def test_two_labs_that_go_up_at_once_start_two_brokers(lab: Lab) -> None:
    lab.run("down")
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: exported(lab.run("up")), range(2))
    assert first == second
    assert len(lab.processes()) == 3  # Redis, RabbitMQ and its epmd


def test_brokers_whose_state_is_lost_are_not_started_a_second_time(lab: Lab) -> None:
    lab.run("up")
    started, state = lab.processes(), lab.root / ".lab" / "brokers.json"
    kept = state.read_text(encoding="utf-8")
    state.unlink()
    try:
        done = lab.start("up")
        assert done.returncode == 2
        [line] = done.stderr.splitlines()
        assert "runs in" in line
        assert "lab doctor --sweep" in line
    finally:
        state.write_text(kept, encoding="utf-8")
    assert all(_runs(pid) for pid in started)


@pytest.mark.parametrize("middleware", ["redis_impl", "rabbitmq", "xmlrpc", "pyro4"])
def test_a_system_that_is_served_already_is_refused_in_one_line(lab: Lab, middleware: str) -> None:
    ports = ["--free-ports"] if middleware in ("redis_impl", "rabbitmq") else []
    serve = ["serve", middleware, "service", *ports]
    with lab.running(*serve):
        done = lab.start(*serve)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].endswith("runs here already, in another terminal")


def test_down_with_purge_leaves_no_process_and_no_data(lab: Lab) -> None:
    urls = exported(lab.run("up"))
    assert urls.keys() == {"LAB_REDIS_URL", "LAB_AMQP_URL"}
    started = lab.processes()
    lab.run("down", "--purge", **urls)  # in the terminal in which they were pasted
    assert not (lab.root / ".lab").exists()
    assert not any(_runs(pid) for pid in started)


def exported(said: str) -> dict[str, str]:
    """Return the variables that `up` proposes."""
    return dict(re.findall(r"export (\w+)='(.*)'", said))


def _redis_url(said: str) -> str:
    [line] = [line for line in said.splitlines() if line.startswith("export LAB_REDIS_URL=")]
    return line.partition("'")[2].rstrip("'")


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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
def serving() -> Iterator[Start]:
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


def test_two_labs_in_two_folders_know_nothing_of_each_other(serving: Start, tmp_path: Path) -> None:
    one, other = serving(copy(tmp_path / "one"), "insults"), serving(copy(tmp_path / "other"), "insults")
    assert one.add("tonto") == '["tonto"]'
    assert other.add("lelo") == '["lelo"]'
    one.end()
    assert other.add("bobo") == '["bobo", "lelo"]'


def test_two_systems_in_one_folder_end_each_by_itself(serving: Start, tmp_path: Path) -> None:
    folder = copy(tmp_path / "lab")
    first, second = serving(folder, "first"), serving(folder, "second")
    assert any("other terminals find another's redis" in line for line in second.said)
    assert first.announced_url() == first.own_url() != second.own_url()
    assert first.add("tonto") == '["tonto"]'
    third = serving(folder, "third")
    third.end()
    assert first.add("lelo") == '["lelo", "tonto"]'
    first.end()
    assert second.add("bobo", second.own_url()) == '["bobo"]'
