"""Pyro4 under faults: processes die, freeze or are started twice, the clock is set, no name server answers.

A program finds its name server, or says why not in one line, without a traceback, and ends.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import Pyro4
import pytest

from harness.faults.by_hand import WallClock
from harness.faults.kinds.pyro4 import CONNECT, GREETING, message
from lab.addresses import free_port, is_open
from lab.bootstrap import ROOT
from lab.contract import Application, Architecture, Target
from lab.errors import DeadlineExceeded, InvalidRequest, Unavailable
from lab.middleware import MIDDLEWARES
from lab.process.launcher import ProcessSpec
from lab.process.system import System
from pyro4.tuned.connection import PyroConnection
from pyro4.tuned.methods import expose
from pyro4.tuned.name_server import MASTER, Names
from pyro4.tuned.server import THREADS, ServedObjects
from tests.conftest import StartSystem
from tests.direct import DirectFaults, elsewhere, frozen, loaded, port_of, progress, refused
from tests.eventually import eventually


class TestFaults(DirectFaults):
    middleware = "pyro4"
    half_a_request = message(GREETING, CONNECT)[:-1]
    too_many = THREADS + 50

    def live(self, system: System) -> list[str]:
        names = Names(system.target.address)
        with Pyro4.Proxy(names.lookup(MASTER)) as master:
            return [names.lookup(name) for name in master.check_slave()]


ONE_NODE, N_NODE = Architecture


@pytest.mark.parametrize("application", Application)
def test_a_second_node_of_one_says_so_and_the_first_keeps_its_name(
    start_system: StartSystem, application: Application
) -> None:
    running = start_system("pyro4", application)
    node = running.nodes[0]
    name = "insult.service" if application is Application.SERVICE else "filter.service"
    assert f"{name} runs already, at {node.address}" in refused(running, elsewhere(node.spec))
    names = Names(running.target.address)
    assert names.lookup(name) == node.address
    names.close()


def test_a_second_master_says_so_and_the_first_keeps_its_name(start_system: StartSystem) -> None:
    running = start_system("pyro4", Application.SERVICE, N_NODE)
    [master] = running.handles["master"]
    assert f"{MASTER} runs already, at {master.address}" in refused(running, elsewhere(master.spec))
    with running.service() as client:
        assert client.add_insult("tonto")


def test_a_second_name_server_at_a_port_says_so(start_system: StartSystem) -> None:
    running = start_system("pyro4", Application.SERVICE)
    port = str(port_of(running.handles["name_server"][0]))
    said = refused(running, ProcessSpec("name_server", "pyro4.name_server", ("--port", port)))
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "does it run already?" in said


@pytest.mark.parametrize(
    ("architecture", "role", "name"), [(ONE_NODE, "node", "insult.service"), (N_NODE, "master", MASTER)]
)
def test_the_name_of_an_owner_that_is_dead_or_frozen_is_taken_over(
    start_system: StartSystem, architecture: Architecture, role: str, name: str
) -> None:
    running = start_system("pyro4", Application.SERVICE, architecture)
    [first] = running.handles[role]
    running.launcher.kill(first)
    second = running.launcher.start(first.spec)
    names = Names(running.target.address)
    assert names.lookup(name) == second.address
    with frozen(second):
        third = running.launcher.start(elsewhere(first.spec))
        assert names.lookup(name) == third.address
    eventually(lambda: not running.launcher.alive(second))  # it woke, and nobody finds what it would keep
    assert running.launcher.wait(second) == 2
    assert f"{name} runs already, at {third.address}" in running.launcher.logs(second)
    assert names.lookup(name) == third.address
    names.close()


HOUR_SECONDS = 3600
DROPPED_SECONDS = 30.0


@contextmanager
def wall_clock(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[WallClock]:
    """Give the processes started within a wall clock that can be set; skip without libfaketime."""
    clock = WallClock(folder)
    if not clock.environment["LD_PRELOAD"]:
        pytest.skip("libfaketime is not here")
    with monkeypatch.context() as environment:
        for name, value in clock.environment.items():
            environment.setenv(name, value)
        yield clock


@pytest.mark.parametrize("jump_seconds", [-HOUR_SECONDS, HOUR_SECONDS])
def test_after_a_jump_of_the_wall_clock_the_dead_are_dropped_and_nobody_else(
    start_system: StartSystem,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    jump_seconds: int,
) -> None:
    with wall_clock(monkeypatch, tmp_path) as clock:
        running = start_system("pyro4", Application.SERVICE, Architecture.N_NODE, nodes=2)
        live, silent = running.nodes
        names = Names(running.target.address)
        with Pyro4.Proxy(names.lookup(MASTER)) as master, frozen(silent):
            clock.set(jump_seconds)
            eventually(lambda: len(master.check_slave()) == 1, within=DROPPED_SECONDS)
            assert master.get_resolver_slave() == live.address
            clock.set(-jump_seconds)
            with loaded(running) as load:
                progress(load, 100)
            load.assert_sound(running)
        names.close()
    assert running.launcher.logs(running.handles["master"][0]).count(f"joined at {live.address}") == 1


ENDS_WITHIN_SECONDS = 30
GENEROUS_SECONDS = 10.0
WRONG_USAGE = 2
PROGRAMS = ("insult_service", "insult_filter", "master")
WRONG_ADDRESSES = (
    "tonto",
    "127.0.0.1",
    "127.0.0.1:99999",
    "127.0.0.1:0",
    "::1:9090",
    ":9090",
    "a b:1",
    "a@b:1",
)
WRONG_VARIABLES = {"LAB_PYRO_KEY": "short", "LAB_PYRO_SERIALIZER": "pickle", "LAB_TONTO": "1"}


def start(module: str, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run a program of Pyro4 that ends by itself; return its exit code and its last line."""
    done = subprocess.run(
        [sys.executable, "-m", f"pyro4.{module}", *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDS_WITHIN_SECONDS,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert not done.stdout
    return done.returncode, done.stderr.splitlines()[-1]


@pytest.fixture
def somebody() -> Iterator[str]:
    """The address of a server that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield "{}:{}".format(*server.getsockname())


@pytest.mark.parametrize("address", WRONG_ADDRESSES)
def test_what_is_no_address_of_a_name_server_is_wrong_usage(address: str) -> None:
    with pytest.raises(InvalidRequest, match="give HOST:PORT"):
        Names(address)


def test_a_program_that_is_given_no_address_of_a_name_server_says_so() -> None:
    code, said = start("insult_service", "--name-server", WRONG_ADDRESSES[0])
    assert (code, "HOST:PORT" in said) == (WRONG_USAGE, True)


@pytest.mark.parametrize("module", PROGRAMS)
def test_a_name_server_that_is_away_or_silent_is_named(module: str, somebody: str) -> None:
    for address in ("127.0.0.1:1", "nobody.invalid:9090", somebody):
        code, said = start(module, "--name-server", address)
        assert (code, address in said) == (1, True)


@pytest.mark.parametrize("variant", ["pyro4", "pyro4:stock"])
@pytest.mark.parametrize("architecture", list(Architecture))
def test_a_client_waits_for_a_silent_name_server_until_its_deadline(
    variant: str, architecture: Architecture, somebody: str
) -> None:
    begun = time.monotonic()
    with (
        pytest.raises((DeadlineExceeded, Unavailable)),
        MIDDLEWARES[variant].service_client(Target(somebody, architecture), 0.5) as client,
    ):
        client.insult_me()
    assert time.monotonic() - begun < GENEROUS_SECONDS


@pytest.mark.parametrize("host", ["192.0.2.1", "nobody.invalid"])
def test_a_host_that_is_not_here_is_wrong_usage(host: str) -> None:
    code, said = start("name_server", "--port", "0", "--host", host)
    assert (code, f"cannot listen on {host}:0" in said) == (WRONG_USAGE, True)


@pytest.mark.parametrize(
    ("module", "variable"),
    [
        *((PROGRAMS[0], variable) for variable in WRONG_VARIABLES),
        *((module, "LAB_TONTO") for module in (*PROGRAMS[1:], "name_server", "broadcaster")),
    ],
)
def test_a_setting_that_is_wrong_is_named(module: str, variable: str) -> None:
    code, said = start(module, **{variable: WRONG_VARIABLES[variable]})
    assert (code, variable in said) == (WRONG_USAGE, True)


@pytest.mark.parametrize("url", ["tonto", "http://127.0.0.1:6379", "redis://127.0.0.1:x"])
def test_what_is_no_url_of_redis_is_named(url: str) -> None:
    code, said = start("broadcaster", LAB_REDIS_URL=url)
    assert (code, "LAB_REDIS_URL" in said) == (WRONG_USAGE, True)


LOOKS = 20
TIME_LIMIT_SECONDS = 5.0


@pytest.fixture
def foreign_name_server() -> Iterator[str]:
    """The address of a ``python -m Pyro4.naming``."""
    port = free_port()
    command = [sys.executable, "-m", "Pyro4.naming", "--host", "127.0.0.1", "--port", str(port), "--nobc"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as server:
        try:
            eventually(lambda: is_open(port))
            yield f"127.0.0.1:{port}"
        finally:
            server.kill()


def test_a_node_is_found_by_the_name_server_that_comes_with_pyro4(foreign_name_server: str) -> None:
    uri = "PYRO:insult.service@127.0.0.1:4711"
    names = Names(foreign_name_server)
    names.claim("insult.service", uri)
    assert names.lookup("insult.service") == uri
    names.close()


@pytest.mark.parametrize(
    ("host", "advertised", "found"),
    [("127.0.0.1", "lab.test", "lab.test"), ("::1", "lab.test", "lab.test"), ("127.0.0.1", "::1", "[::1]")],
)
def test_an_object_has_the_address_by_which_others_reach_it(host: str, advertised: str, found: str) -> None:
    served = ServedObjects(host, 0, advertised)
    port = served.daemon.sock.getsockname()[1]
    assert served.serve({"tonto": expose(type("Tonto", (), {"ask": str}))()}) == {
        "tonto": f"PYRO:tonto@{found}:{port}"
    }
    served.close(1.0)


@pytest.mark.parametrize("serializer", [None, "serpent"])
def test_looking_at_a_silent_connection_does_not_wait_for_it(
    start_system: StartSystem, serializer: str | None
) -> None:
    system = start_system("pyro4", Application.SERVICE)
    connection = PyroConnection(system.nodes[0].address, serializer)
    assert connection.is_lost()  # it was never opened
    connection.call("get_insults", (), TIME_LIMIT_SECONDS)
    began = time.monotonic()
    assert not any(connection.is_lost() for _ in range(LOOKS))
    assert time.monotonic() - began < TIME_LIMIT_SECONDS  # one look would take as long, if it waited
    system.launcher.kill(system.nodes[0])
    eventually(connection.is_lost)
    connection.close()
