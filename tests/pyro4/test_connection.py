"""A connection's owner sees, without asking the other side, whether that is still there."""

import time

import pytest

from lab.contract import Application
from pyro4.tuned.connection import PyroConnection
from tests.conftest import StartSystem
from tests.eventually import eventually

LOOKS = 20
TIME_LIMIT_SECONDS = 5.0


@pytest.mark.parametrize("serializer", [None, "serpent"])
def test_looking_at_a_silent_connection_does_not_wait_for_it(
    system: StartSystem, serializer: str | None
) -> None:
    cluster = system("pyro4", Application.SERVICE)
    connection = PyroConnection(cluster.nodes[0].address, serializer)
    assert connection.is_lost()  # it was never opened
    connection.call("get_insults", (), TIME_LIMIT_SECONDS)
    began = time.monotonic()
    assert not any(connection.is_lost() for _ in range(LOOKS))
    assert time.monotonic() - began < TIME_LIMIT_SECONDS  # one look would take as long, if it waited
    cluster.launcher.kill(cluster.nodes[0])
    eventually(connection.is_lost)
    connection.close()
