"""``lab doctor`` as a command, in a copy of the lab: each of the usual problems is made, found and fixed."""

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pika
import psutil
import pytest
import redis

from lab.bootstrap import ROOT
from tests.eventually import eventually
from tests.lab.conftest import LabCopy, runs

pytestmark = pytest.mark.usefixtures("usual_ports")

NAMESPACE = "lab-0badf00d"
QUEUES = "lab-0badcafe"
PORTS = range(8000, 8011)


class Lab(LabCopy):
    """A copy of the lab with the command to examine it."""

    def doctor(self, what: str, **environment: str) -> str:
        """Return the rows called *what*: state, detail and fix of each on a line."""
        rows = json.loads(self.start("doctor", "--json", "--idle", "0s", **environment).stdout)
        named = [row for row in rows if row["what"] == what]
        return "\n".join(f"{row['state']} {row['detail']} -> {row['fix']}" for row in named)

    def sweep(self) -> None:
        self.start("doctor", "--sweep", "--idle", "0s")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("up"))
    yield lab
    started = lab.processes()
    lab.run("down", "--purge")
    eventually(lambda: not [pid for pid in started if runs(pid)])


@pytest.fixture
def lab_up(shared: Lab) -> Lab:
    """A lab whose brokers are up; those that the test before left are still."""
    shared.run("up")
    return shared


def test_a_taken_port_is_reported_with_who_took_it(lab: Lab) -> None:
    with ExitStack() as stack:
        for port in PORTS:
            with suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                break
        said = lab.doctor("ports of XML-RPC")
    assert f"{port} taken by process {os.getpid()}, " in said
    assert "give a master another by --port" in said


def test_a_broker_that_does_not_answer_is_reported_with_what_to_do(lab: Lab) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        said = lab.doctor("Redis", LAB_REDIS_URL=f"redis://u:secret@127.0.0.1:{closed.getsockname()[1]}/0")
    assert said.startswith("MISSING")
    assert "start it, or unset the variable" in said
    assert "secret" not in said


def test_an_environment_whose_python_is_gone_is_reported(lab: Lab) -> None:
    python = lab.root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/nowhere/python3.11")
    said = lab.doctor("Python")
    assert said.startswith("MISSING")
    assert ".venv and run any command" in said


@pytest.mark.parametrize("name", ["python3.6", "python3.8", "python3.10"])
def test_a_python_that_is_too_old_says_so_in_one_line(name: str) -> None:
    path = next(iter(Path.home().glob(f".pyenv/versions/{name[6:]}.*/bin/python")), None) or shutil.which(
        name
    )
    if not path:
        pytest.skip(f"no {name} here")
    done = subprocess.run(
        [path, "-m", "lab", "doctor"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    [line] = done.stderr.splitlines()
    assert "needs Python 3.11 or newer" in line


def test_a_held_lock_is_reported_with_who_holds_it(lab: Lab) -> None:
    (lab.root / ".lab").mkdir()
    with (lab.root / ".lab" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = lab.doctor("lock of `up`")
    assert f"held by process {os.getpid()}" in said
    assert f"kill {os.getpid()}" in said
    assert lab.doctor("lock of `up`").startswith("good")  # a lock ends with its process: none is ever stale


def test_a_dead_broker_of_up_is_forgotten(lab_up: Lab) -> None:
    [pid] = lab_up.up()["redis"]["pids"]
    psutil.Process(pid).kill()
    eventually(lambda: not runs(pid))
    assert "redis in" in lab_up.doctor("left behind")
    lab_up.sweep()
    assert set(lab_up.up()) == {"rabbitmq"}
    assert "redis in" not in lab_up.doctor("left behind")


def test_a_broker_that_refuses_our_password_is_reported_with_its_words(lab_up: Lab) -> None:
    for kind, what in (("redis", "Redis"), ("rabbitmq", "RabbitMQ")):
        url = re.sub(r":[^:@/]+@", ":wrong-one@", str(lab_up.up()[kind]["url"]))
        variable = "LAB_REDIS_URL" if kind == "redis" else "LAB_AMQP_URL"
        said = lab_up.doctor(what, **{variable: url})
        assert said.startswith("MISSING")
        assert "refuses us" in said
        assert f"give {variable} what it accepts" in said
        assert "wrong-one" not in said


def test_results_that_cannot_be_written_are_reported(lab: Lab) -> None:
    assert lab.doctor("results").startswith("good")
    (lab.root / "results").touch()
    assert "--results" in lab.doctor("results")


def test_brokers_of_which_the_state_is_lost_are_ended(lab_up: Lab) -> None:
    pids = lab_up.processes()
    lab_up.state.write_text("no JSON")
    said = lab_up.doctor("left behind")
    assert "cannot be read" in said
    for pid in pids:
        assert f"process {pid}," in said
    lab_up.sweep()
    assert not [pid for pid in pids if runs(pid)]
    said = lab_up.doctor("left behind")
    assert "cannot be read" not in said
    assert not [pid for pid in pids if f"process {pid}," in said]


def test_namespaces_that_nobody_uses_are_deleted_from_both_brokers(lab_up: Lab) -> None:
    up = lab_up.up()
    with redis.Redis.from_url(str(up["redis"]["url"])) as client:
        client.set(f"{NAMESPACE}:insults", "x")
        client.set("insults:insults", "the user's")
        with pika.BlockingConnection(pika.URLParameters(str(up["rabbitmq"]["url"]))) as connection:
            channel = connection.channel()
            for queue in (f"{QUEUES}.service", f"{NAMESPACE}.filter.work", "insults.service"):
                channel.queue_declare(queue, durable=True)
            said = lab_up.doctor("left behind")
            assert f"namespace {NAMESPACE}" in said
            assert f"namespace {QUEUES}" in said
            lab_up.sweep()
            assert client.keys("*") == [b"insults:insults"]
            channel.queue_declare("insults.service", passive=True)
            said = lab_up.doctor("left behind")
            assert NAMESPACE not in said
            assert QUEUES not in said


def test_what_a_killed_run_left_is_removed_and_what_is_in_use_is_not(lab: Lab) -> None:
    folder = lab.temporary / f"lab-{os.getuid()}"
    folder.mkdir(mode=0o700)
    (lab.temporary / "lab-logs-old").mkdir()
    (lab.temporary / "lab-logs-used").mkdir()
    with ExitStack() as stack:
        stack.enter_context((lab.temporary / "lab-logs-used" / "0-node.log").open("w"))
        for name in ("stale", "used"):
            pool = stack.enter_context(socket.socket(socket.AF_UNIX))
            pool.bind(os.path.relpath(folder / f"pool-{name}.sock"))
            pool.listen() if name == "used" else pool.close()
        node = [sys.executable, "-c", "import time; time.sleep(60)", "-m", "xmlrpc.insult_filter"]
        orphan = stack.enter_context(subprocess.Popen(node, env={**os.environ, "LAB_PARENT": "1"}))
        said = lab.doctor("left behind")
        lab.sweep()
        orphan.wait()
        assert f"process {orphan.pid}, xmlrpc.insult_filter" in said
        said = lab.doctor("left behind")
        assert f"process {orphan.pid}, " not in said
        assert str(lab.temporary) not in said
        assert sorted(path.name for path in folder.iterdir()) == ["pool-used.sock"]
        assert [path.name for path in lab.temporary.glob("lab-logs-*")] == ["lab-logs-used"]
