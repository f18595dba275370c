"""Where objects are found: by our name server and by Pyro4's own, and how a lost one is noticed."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from lab.addresses import free_port, is_open
from lab.bootstrap import ROOT
from lab.contract import Application
from pyro4.tuned.connection import PyroConnection
from pyro4.tuned.methods import expose
from pyro4.tuned.name_server import Names
from pyro4.tuned.server import ServedObjects
from tests.conftest import StartSystem
from tests.eventually import eventually

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
