"""A program of Pyro4 finds its name server, or says why not in one line, without a traceback, and ends."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from lab.addresses import free_port, is_open
from lab.bootstrap import ROOT
from lab.contract import Application, Architecture, Target
from lab.errors import DeadlineExceeded, InvalidRequest, Unavailable
from lab.middleware import MIDDLEWARES
from pyro4.tuned.connection import PyroConnection
from pyro4.tuned.methods import expose
from pyro4.tuned.name_server import Names
from pyro4.tuned.server import ServedObjects
from tests.conftest import StartSystem
from tests.eventually import eventually

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


@pytest.mark.parametrize("module", [*PROGRAMS, "name_server", "broadcaster"])
@pytest.mark.parametrize("variable", WRONG_VARIABLES)
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
