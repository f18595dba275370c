"""The launcher over Dask workers, on loopback: what it starts, stops and kills, and what ends with whom."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from harness.experiment.bench import several
from lab.addresses import free_port
from lab.bootstrap import ROOT
from lab.errors import Code, InvalidRequest, Unavailable
from lab.process.launcher import Handle, ProcessSpec
from machines.cluster import Machines
from machines.machine import LEASE_SECONDS
from tests.eventually import eventually
from tests.machines.conftest import Dask

HOSTS = ("127.0.0.1", "127.0.0.2")
NODE = ProcessSpec("node", "xmlrpc.insult_filter", ("--port", "0"))
ENDS_WITHIN = 20.0
OWNER = """
import sys, time
from lab.process.launcher import ProcessSpec
from machines.cluster import Machines
machines = Machines(sys.argv[1])
launcher = machines.launcher()
spec = ProcessSpec("node", "xmlrpc.insult_filter", ("--port", "0"))
print(*[launcher.start(spec).pid for _ in machines], flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def dask() -> Iterator[Dask]:
    with Dask(HOSTS[0]) as dask:
        for host in HOSTS:
            dask.add_worker(host)
        yield dask.wait(len(HOSTS))


@pytest.fixture(scope="module")
def orphans(dask: Dask) -> list[int]:
    """Nodes whose owner was killed (kill -9) just now: they have until the lease runs out, tests go on."""
    command = [sys.executable, "-c", OWNER, dask.url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout
            return [int(pid) for pid in owner.stdout.readline().split()]
        finally:
            owner.kill()


@pytest.fixture
def machines(dask: Dask, orphans: list[int]) -> Iterator[Machines]:
    with Machines(dask.url) as machines:
        yield machines


def test_processes_are_spread_in_turn_each_at_the_address_of_its_machine(machines: Machines) -> None:
    launcher = machines.launcher()
    first, second, third = (launcher.start(NODE) for _ in range(3))
    for handle, host in zip((first, second, third), (*HOSTS, HOSTS[0]), strict=True):
        assert handle.address.startswith(f"http://{host}:")
        assert launcher.alive(handle)
    assert launcher.stop(first) == 0
    launcher.kill(second)
    assert launcher.wait(second) == -signal.SIGKILL
    assert (first.told_to_stop, second.told_to_stop) == (True, False)
    assert [launcher.alive(handle) for handle in (first, second, third)] == [False, False, True]
    assert "stopped" in launcher.logs(first)
    launcher.close()
    assert not psutil.pid_exists(third.pid)


def test_one_that_cannot_start_says_why_in_one_line(machines: Machines) -> None:
    with pytest.raises(Unavailable, match=r"^node did not start: .*/nowhere") as raised:
        machines.launcher().start(ProcessSpec("node", "xmlrpc.insult_filter", ("--insults", "/nowhere")))
    assert "\n" not in str(raised.value)


def test_closing_ends_everything_on_all_machines(dask: Dask) -> None:
    with Machines(dask.url) as machines:
        launcher = machines.launcher()
        pids = [launcher.start(NODE).pid for _ in machines]
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_lost_machine_is_reported_its_processes_count_as_killed_and_others_go_on(dask: Dask) -> None:
    host = "127.0.0.3"
    dask.add_worker(host)
    dask.wait(len(HOSTS) + 1)
    with Machines(dask.url) as machines:
        launcher = machines.launcher()
        *others, lost = [launcher.start(NODE) for _ in machines]
        dask.workers[host].kill()
        eventually(lambda: not runs(lost), ENDS_WITHIN)
        eventually(lambda: not machines.is_whole, ENDS_WITHIN)
        assert launcher.wait(lost) == -signal.SIGKILL
        with pytest.raises(Unavailable, match=rf"^machine {host} is lost"):
            launcher.logs(lost)
        assert all(launcher.alive(handle) for handle in others)
        assert host not in launcher.start(NODE).address


def test_workers_at_loopback_are_refused_for_a_run(dask: Dask) -> None:
    with (
        pytest.raises(InvalidRequest, match=r"a Dask worker is at 127\.0\.0\.1"),
        several(dask.url, frozenset()),
    ):
        pass


def test_a_machine_with_other_code_is_named(dask: Dask, tmp_path: Path) -> None:
    for package in ("lab", "machines"):
        shutil.copytree(ROOT / package, tmp_path / package)
    with Dask(HOSTS[0]) as other:
        other.add_foreign_worker(HOSTS[0], tmp_path)
        other.wait(1)
        with pytest.raises(Unavailable, match=r"^machine 127\.0\.0\.1 has other code of the lab"):
            Machines(other.url)


def test_a_scheduler_without_workers_is_reported() -> None:
    with Dask(HOSTS[0]) as empty:
        empty.wait(0)
        with pytest.raises(Unavailable, match="has no workers"):
            Machines(empty.url)


@pytest.mark.parametrize("url", ["", "localhost", "http://127.0.0.1:8786", "tcp://127.0.0.1", "tcp://h:x"])
def test_what_is_no_address_of_a_scheduler_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a Dask scheduler's address") as raised:
        Machines(url)
    assert raised.value.code is Code.MALFORMED


def test_nobody_at_the_schedulers_address_is_reported() -> None:
    with pytest.raises(Unavailable, match=r"^no Dask scheduler answers at tcp://127\.0\.0\.1"):
        Machines(f"tcp://127.0.0.1:{free_port()}")


def test_a_run_on_several_machines_asks_for_brokers_that_all_can_reach() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab", "run", "--only", "xmlrpc", "--cluster", "tcp://10.0.0.1:8786"],
        cwd=ROOT,
        env={**os.environ, "LAB_REDIS_URL": "redis://localhost:6379/0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "LAB_REDIS_URL must name a redis at an address that all machines reach" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_nodes_whose_owner_was_killed_are_gone_when_the_lease_is_over(orphans: list[int]) -> None:
    assert len(orphans) == len(HOSTS)
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in orphans), LEASE_SECONDS + ENDS_WITHIN)


def runs(handle: Handle) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(handle.pid).status() != psutil.STATUS_ZOMBIE
    return False
