"""Systems that come and go leave nothing in the process that started them, nor on the disk."""

import gc
import tempfile
import threading
from pathlib import Path

import psutil
import pytest

from lab.contract import Application, Architecture
from lab.errors import Unavailable
from lab.process.launcher import LocalLauncher, ProcessSpec
from lab.process.system import System, SystemSpec
from tests.eventually import eventually
from tests.systems import system_for

ROUNDS = 5
ANSWERS_WITHIN = 20.0


@pytest.mark.usefixtures("redis_url", "amqp_url")  # first: the brokers' folders are not the systems'
@pytest.mark.parametrize("middleware", ["xmlrpc", "rabbitmq"])
def test_systems_started_and_stopped_leave_no_open_file_folder_thread_or_process(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, middleware: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spec = SystemSpec(middleware, Application.FILTER, Architecture.N_NODE, nodes=2)

    def one_round() -> None:
        with system_for(request, spec, supervised=True) as system:
            with system.filter(15.0) as client:
                assert client.filter("tonto") == "CENSORED"
            kill_one(system)
        assert not any(tmp_path.iterdir())

    one_round()  # what is opened once, on first use, is not a leak
    before = open_things()
    for _ in range(ROUNDS):
        one_round()
    eventually(lambda: no_more(open_things(), before))


def test_starts_that_fail_leave_no_open_file_and_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = open_things()
    for _ in range(ROUNDS):
        with pytest.raises(Unavailable), LocalLauncher() as launcher:
            launcher.start(ProcessSpec("node", "xmlrpc.insult_filter", ("--insults", "/nowhere")))
    assert no_more(open_things(), before)
    assert not any(tmp_path.iterdir())


def kill_one(system: System) -> None:
    """Let the supervisor replace a node."""
    [first, *_] = system.nodes
    system.launcher.kill(first)
    eventually(lambda: first not in system.nodes, ANSWERS_WITHIN)


def open_things() -> tuple[int, int, int]:
    """Count our open files, threads and child processes."""
    gc.collect()
    return (
        psutil.Process().num_fds(),
        threading.active_count(),
        len(psutil.Process().children(recursive=True)),
    )


def no_more(now: tuple[int, int, int], before: tuple[int, int, int]) -> bool:
    return all(one <= other for one, other in zip(now, before, strict=True))
