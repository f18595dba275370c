"""Hosts on one machine, in network namespaces: one is cut off and joins again."""

import ctypes
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.faults.load import Load, Outcome, Stream, bugs, close, wait
from harness.faults.rig import TEXTS
from harness.faults.site import Brokers, Site
from lab.bootstrap import ROOT
from lab.brokers import rabbitmq_broker, redis_broker
from lab.contract import Application, Architecture
from lab.errors import LabError, Unavailable
from lab.load.plans import Plan
from lab.middleware import MIDDLEWARES
from lab.process.system import SystemSpec
from lab.settings import settings
from machines.cluster import Machines
from machines.launcher import FarHandle
from tests.eventually import eventually
from tests.machines.conftest import Dask

NETWORK = "10.213.77"
_CLONE_NEWNET = 0x40000000


class NotPermitted(Exception):
    """Namespaces cannot be made here; the message says why."""


@dataclass(frozen=True, slots=True)
class Host:
    """A namespace of its own, with one address on the bridge."""

    namespace: str
    address: str
    cable: str
    """The bridge's end of its link."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be on this host, in this thread."""
        there = Path("/run/netns") / self.namespace
        with Path("/proc/thread-self/ns/net").open("rb") as home, there.open("rb") as away:
            _enter(away.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())


class Network:
    """*count* hosts that reach one another; a context manager that leaves nothing behind."""

    def __init__(self, count: int) -> None:
        self._name = f"lab-{secrets.token_hex(4)}"
        self._stack = ExitStack()
        try:
            self._namespace(self._name)
            ip("-n", self._name, "link", "add", "bridge", "type", "bridge")
            ip("-n", self._name, "link", "set", "bridge", "up")
            self.hosts = [self._host(number) for number in range(1, count + 1)]
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> "Network":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def cut(self, host: Host) -> None:
        """Pull the cable of *host*."""
        ip("-n", self._name, "link", "set", host.cable, "down")

    def join(self, host: Host) -> None:
        """Plug it in again."""
        ip("-n", self._name, "link", "set", host.cable, "up")

    def _host(self, number: int) -> Host:
        host = Host(f"{self._name}-{number}", f"{NETWORK}.{number}", f"cable{number}")
        self._namespace(host.namespace)
        pair = ("type", "veth", "peer", "name", "eth0", "netns", host.namespace)
        ip("-n", self._name, "link", "add", host.cable, *pair)
        ip("-n", self._name, "link", "set", host.cable, "master", "bridge", "up")
        ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", host.namespace, "link", "set", device, "up")
        return host

    def _namespace(self, name: str) -> None:
        ip("netns", "add", name)
        self._stack.callback(ip, "netns", "delete", name)


def ip(*arguments: str) -> None:
    """Run ``ip``; NotPermitted, with its words, if that fails."""
    if not shutil.which("ip"):
        raise NotPermitted("there is no `ip` here: apt install iproute2")
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPermitted(f"`ip {' '.join(arguments)}`: {done.stderr.strip()}")


def _enter(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


NODES = 3
CUT_AT, JOINED_AT, ENDS_AT = 0.7, 2.7, 4.0
RATE = 40.0
SETTLE_SECONDS = 30.0
ANSWERS_WITHIN = 20.0


@dataclass(frozen=True, slots=True)
class Lab:
    """The first host has the brokers, the scheduler and the clients; the others are machines."""

    network: Network
    brokers: Brokers
    dask: Dask


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with ExitStack() as stack:
        try:
            network = stack.enter_context(Network(1 + NODES))
        except NotPermitted as error:
            pytest.skip(f"several hosts on one machine need network namespaces: {error}")
        control, *others = network.hosts
        with control.entered():
            dask = stack.enter_context(Dask(control.address))
            for host in others:
                dask.add_worker(host.address, host.entered())
            brokers = stack.enter_context(ExitStack())
            try:
                found = {
                    kind: brokers.enter_context(start(settings(), private=True, host=control.address))
                    for kind, start in (("redis", redis_broker), ("rabbitmq", rabbitmq_broker))
                }
            except Unavailable as error:
                if settings().require_brokers:
                    raise
                pytest.skip(str(error))
            yield Lab(network, Brokers(found), dask.wait(NODES))


@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_nothing_acknowledged_is_lost_when_a_host_is_cut_off_and_it_serves_when_it_joins_again(
    lab: Lab, middleware: str
) -> None:
    stream = Stream(seed=1, mix=TEXTS)
    plan = Plan.poisson(RATE, ENDS_AT, 1)
    spec = SystemSpec(middleware, Application.FILTER, Architecture.N_NODE, NODES)
    with Machines(lab.dask.url) as machines:
        site = Site(spec, lab.brokers, {}, None, launcher=machines.launcher())
        with site as system:
            with Load({Application.FILTER: system}, stream, plan, clients=4) as load:
                wait(load, CUT_AT)
                lab.network.cut(lab.network.hosts[-1])
                assert not reaches(lab.network.hosts[-1])
                wait(load, JOINED_AT)
                lab.network.join(lab.network.hosts[-1])
                eventually(lambda: reaches(lab.network.hosts[-1]))
            account = close(load.entries, system.settle(load.entries, stream, SETTLE_SECONDS))
            assert (account.lost, account.unexpected, account.duplicated, account.wrong) == ([], [], [], [])
            assert bugs(load.entries) == []
            assert account.outcomes[Outcome.ACKNOWLEDGED] > len(load.entries) / 2
            *others, cut_off = system.nodes
            assert isinstance(cut_off, FarHandle)
            assert cut_off.machine.host == lab.network.hosts[-1].address
            assert machines.is_whole
            for node in others:
                system.launcher.stop(node)
            assert system.launcher.alive(cut_off)
            eventually(lambda: answer(system) == "CENSORED", ANSWERS_WITHIN)


def test_a_run_says_on_which_machines_nodes_and_load_generators_were(lab: Lab, tmp_path: Path) -> None:
    options = ("xmlrpc", "--rate", "300", "--architecture", "n-node", "--seconds", "1s")
    where = ("--cluster", lab.dask.url, "--results", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "lab", "stress", *options, *where],
        cwd=ROOT,
        env={**os.environ, **lab.brokers.urls.environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run = json.loads((tmp_path / "latest" / "run.json").read_text())
    hosts = [host.address for host in lab.network.hosts[1:]]
    assert [machine["host"] for machine in run["environment"]["machines"]] == hosts
    [point] = run["points"]
    assert point["generators"] == hosts
    assert point["measurement"]["throughput"] > 0
    assert {"node", "master", "redis"} <= set(point["usage"]["cpu_seconds"])
    assert (tmp_path / "latest" / "report.html").exists()


def reaches(host: Host) -> bool:
    """Tell whether *host* answers, be it that nobody listens there."""
    try:
        socket.create_connection((host.address, 9), timeout=0.3).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def answer(system: Site) -> str:
    """Ask for a text that needs a node; whatever it says."""
    try:
        with system.filter() as client:
            return client.filter("tonto")
    except LabError as error:
        return str(error)
