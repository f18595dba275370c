"""`lab up` and `lab down` in copies of the lab: what they start is theirs alone; two labs at once."""

import itertools
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import redis

from lab.bootstrap import ENDING
from lab.store.namespace import throwaway_namespace
from tests.eventually import eventually
from tests.lab.conftest import LabCopy, Served, runs

pytestmark = pytest.mark.usefixtures("usual_ports")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCopy]:
    """A lab whose brokers are up."""
    lab = LabCopy(tmp_path_factory.mktemp("up"))
    try:
        lab.run("up")
        yield lab
    finally:
        lab.run("down", "--purge")


def test_up_twice_says_that_they_are_up_already_and_starts_no_more(lab: LabCopy) -> None:
    before = lab.processes()
    said = lab.run("up")
    assert said.count("is up already") == 2
    assert lab.processes() == before


def test_killed_brokers_come_back_at_the_same_port_with_the_same_password(lab: LabCopy) -> None:
    before, started = exported(lab.run("up")), lab.processes()
    with redis.Redis.from_url(before["LAB_REDIS_URL"]) as client:
        client.set("survivor", "yes")
        [server, *others] = [psutil.Process(pid) for pid in started]
        for process in (server, *(one for one in others if one.name() != "epmd")):
            process.kill()
        eventually(lambda: not any(runs(process.pid) for process in (server, others[0])))
        assert exported(lab.run("up")) == before
        assert client.get("survivor") == b"yes"  # one that was connected finds it again
    assert not any(runs(pid) for pid in started)  # nor is the epmd of the first RabbitMQ left


def test_two_labs_that_go_up_at_once_start_two_brokers_with_what_was_stored(lab: LabCopy) -> None:
    with redis.Redis.from_url(exported(lab.run("up"))["LAB_REDIS_URL"]) as client:
        client.set("kept", "yes")
    lab.run("down")
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: exported(lab.run("up")), range(2))
    assert first == second
    assert len(lab.processes()) == 3  # Redis, RabbitMQ and its epmd
    with redis.Redis.from_url(first["LAB_REDIS_URL"]) as client:
        assert client.get("kept") == b"yes"


def test_brokers_whose_state_is_lost_are_not_started_a_second_time(lab: LabCopy) -> None:
    lab.run("up")
    started, kept = lab.processes(), lab.state.read_text(encoding="utf-8")
    lab.state.unlink()
    try:
        done = lab.start("up")
        assert done.returncode == 2
        [line] = done.stderr.splitlines()
        assert "runs in" in line
        assert "lab doctor --sweep" in line
    finally:
        lab.state.write_text(kept, encoding="utf-8")
    assert all(runs(pid) for pid in started)


@pytest.mark.parametrize("middleware", ["redis_impl", "rabbitmq", "xmlrpc", "pyro4"])
def test_a_system_that_is_served_already_is_refused_in_one_line(lab: LabCopy, middleware: str) -> None:
    ports = ["--free-ports"] if middleware in ("redis_impl", "rabbitmq") else []
    with lab.serving(middleware, "service", *ports):
        done = lab.start("serve", middleware, "service", *ports)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].endswith("runs here already, in another terminal")


@pytest.mark.parametrize("signals", list(itertools.product(ENDING, repeat=2)), ids=str)
def test_any_two_signals_at_once_end_a_system_and_leave_nothing(
    lab: LabCopy, signals: tuple[signal.Signals, ...]
) -> None:
    with lab.serving("redis_impl", "filter", "--free-ports", "--namespace", throwaway_namespace()) as system:
        children = psutil.Process(system.process.pid).children(recursive=True)
        before = set(lab.temporary.glob("lab-*"))
        for number in signals:
            system.process.send_signal(number)
        code = system.process.wait(60.0)
    assert code == 130, system.said()
    assert not any(runs(child.pid) for child in children)
    assert before
    assert not before & set(lab.temporary.glob("lab-*"))
    assert "Error" not in system.said()
    assert "ignored" not in system.said()


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.1, 0.3])
def test_up_that_is_interrupted_ends_what_it_started(lab: LabCopy, seconds: float) -> None:
    lab.run("down")
    with subprocess.Popen(
        [sys.executable, "-m", "lab", "up"],
        cwd=lab.root,
        env=lab.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as command:
        eventually(lambda: "redis" in lab.up() or command.poll() is not None, within=60.0)
        started = lab.processes()
        time.sleep(seconds)  # RabbitMQ takes seconds: it starts its epmd, then itself
        command.send_signal(signal.SIGINT)
        assert command.wait(60.0) == 130
    assert started
    assert not [process for process in psutil.process_iter() if is_of(process, lab) and runs(process.pid)]
    assert not lab.up()


def is_of(process: psutil.Process, lab: LabCopy) -> bool:
    """Tell whether *process* was started by this copy of the lab."""
    try:
        return process.environ().get("TMPDIR") == str(lab.temporary)
    except psutil.Error:  # another user's, or it has ended
        return False


def test_down_with_purge_leaves_no_process_and_no_data(lab: LabCopy) -> None:
    urls = exported(lab.run("up"))
    assert urls.keys() == {"LAB_REDIS_URL", "LAB_AMQP_URL"}
    started = lab.processes()
    lab.run("down", "--purge", **urls)  # in the terminal in which they were pasted
    assert not (lab.root / ".lab").exists()
    assert not any(runs(pid) for pid in started)


def exported(said: str) -> dict[str, str]:
    """Return the variables that `up` proposes."""
    return dict(re.findall(r"export (\w+)='(.*)'", said))


ADD = """
import json, sys; from lab.contract import *; from lab.middleware import MIDDLEWARES as all
mw = all['redis_impl']; where = mw.default_address(Architecture.ONE_NODE, Application.SERVICE)
with mw.service_client(Target(where, Architecture.ONE_NODE, sys.argv[1])) as client:
    client.add_insult(sys.argv[2]); print(json.dumps(client.get_insults()))
"""


def add(lab: LabCopy, namespace: str, insult: str, **environment: str) -> str:
    """Add *insult* through a client that is a process of its own; return all insults there are then."""
    done = lab.python("-c", ADD, namespace, insult, **environment)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


def served(stack: ExitStack, lab: LabCopy, namespace: str) -> Served:
    return stack.enter_context(lab.serving("redis_impl", "service", "--namespace", namespace))


def url_of(system: Served) -> str:
    """Return where the Redis is that the node of *system* uses."""
    children = [process.environ() for process in psutil.Process(system.process.pid).children()]
    return next(one["LAB_REDIS_URL"] for one in children if "LAB_REDIS_URL" in one)


def test_two_labs_in_two_folders_know_nothing_of_each_other(tmp_path_factory: pytest.TempPathFactory) -> None:
    one, other = (LabCopy(tmp_path_factory.mktemp(name)) for name in ("one", "other"))
    with ExitStack() as first, ExitStack() as second:
        served(first, one, "insults"), served(second, other, "insults")
        assert add(one, "insults", "tonto") == '["tonto"]'
        assert add(other, "insults", "lelo") == '["lelo"]'
        first.close()
        assert add(other, "insults", "bobo") == '["bobo", "lelo"]'


def test_two_systems_in_one_folder_end_each_by_itself(tmp_path: Path) -> None:
    lab = LabCopy(tmp_path)
    with ExitStack() as stack, ExitStack() as ends_early:
        first, second = served(ends_early, lab, "first"), served(stack, lab, "second")
        assert "other terminals find another's redis" in second.said()
        assert lab.up()["redis"]["url"] == url_of(first) != url_of(second)
        assert add(lab, "first", "tonto") == '["tonto"]'
        with ExitStack() as third:
            served(third, lab, "third")
        assert add(lab, "first", "lelo") == '["lelo", "tonto"]'
        own_url = url_of(second)
        ends_early.close()
        assert add(lab, "second", "bobo", LAB_REDIS_URL=own_url) == '["bobo"]'
