"""Supervised systems, as `lab serve` runs them: what ends unasked is there again, what is stopped is not."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import psutil
import Pyro4
import pytest

from lab.bootstrap import ROOT
from lab.contract import Application, Architecture, InsultFilter
from lab.errors import LabError
from lab.middleware import MIDDLEWARES
from lab.process.launcher import Handle, LocalLauncher, ProcessSpec
from lab.process.supervisor import RestartPolicy, Supervisor
from lab.process.system import System, SystemSpec
from lab.topology import MASTER, NODE
from tests.conftest import system_for
from tests.eventually import eventually
from xmlrpc.client import ServerProxy
from xmlrpc.topology import FILTER_PORT

HURRIED = RestartPolicy(first_seconds=0.02, longest_seconds=0.1, stable_seconds=30.0, attempts=4)
ANSWERS_WITHIN = 20.0
SECONDS = 30


class Watched:
    """A launcher whose processes are supervised, and what the supervisor said."""

    def __init__(self, launcher: LocalLauncher, back_off: RestartPolicy) -> None:
        self.launcher = launcher
        self.said: list[str] = []
        self.gone: list[Handle] = []
        self.moves: list[tuple[Handle, Handle]] = []
        self.supervisor = Supervisor(launcher, gone=self.gone.append, say=self.said.append, back_off=back_off)

    def start(self, then: ProcessSpec | None = None) -> Handle:
        """Start a one-node system over XML-RPC; *then* is what takes its place."""
        handle = self.launcher.start(node())
        self.supervisor.watch(handle, then, lambda old, new: self.moves.append((old, new)))
        return handle


def node(*arguments: str) -> ProcessSpec:
    return ProcessSpec(NODE, "xmlrpc.insult_filter", ("--port", "0", *arguments))


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched(LocalLauncher(), HURRIED)
    yield watched
    watched.supervisor.close()


def test_a_killed_process_is_noticed_and_is_there_again(watched: Watched) -> None:
    handle = watched.start()
    os.kill(handle.pid, signal.SIGKILL)
    eventually(lambda: watched.moves, ANSWERS_WITHIN)
    [(old, new)] = watched.moves
    [restart] = watched.supervisor.restarts
    assert old is handle
    assert watched.gone == [handle]
    assert watched.launcher.alive(new)
    assert (restart.pid, restart.new_pid, restart.exit_code) == (handle.pid, new.pid, -signal.SIGKILL)
    assert restart.ended_ns < restart.ready_ns


def test_a_process_that_its_launcher_stops_is_not_started_again(watched: Watched) -> None:
    stopped, killed = watched.start(), watched.start()
    watched.launcher.stop(stopped)
    watched.launcher.kill(killed)
    eventually(lambda: watched.moves, ANSWERS_WITHIN)
    assert [old for old, _ in watched.moves] == [killed]
    assert [restart.pid for restart in watched.supervisor.restarts] == [killed.pid]


def is_deserted(watched: Watched) -> bool:
    """Tell whether the supervisor soon watches nothing any more."""
    waiting = threading.Thread(target=watched.supervisor.wait, daemon=True)
    waiting.start()
    waiting.join(ANSWERS_WITHIN)
    return not waiting.is_alive()


def test_a_killed_one_that_is_stopped_while_another_starts_in_its_place_stays_away(watched: Watched) -> None:
    handle = watched.start()
    watched.launcher.kill(handle)
    eventually(lambda: watched.supervisor.restarts, ANSWERS_WITHIN)
    watched.launcher.stop(handle)
    assert is_deserted(watched)
    assert not watched.moves


def test_a_killed_one_that_is_stopped_before_another_starts_in_its_place_stays_away() -> None:
    slow = RestartPolicy(first_seconds=2.0, longest_seconds=2.0, stable_seconds=30.0, attempts=4)
    watched = Watched(LocalLauncher(), slow)
    with closing(watched.supervisor):
        handle = watched.start(then=node("--insults", "/nowhere/insults"))
        watched.launcher.kill(handle)
        eventually(lambda: len(watched.supervisor.restarts) == 2, ANSWERS_WITHIN)
        watched.launcher.stop(handle)
        assert is_deserted(watched)
        assert len(watched.supervisor.restarts) == 2


def test_one_that_cannot_start_is_given_up_in_one_line_with_its_last_words(watched: Watched) -> None:
    handle = watched.start(then=node("--insults", "/nowhere/insults"))
    watched.launcher.kill(handle)
    eventually(lambda: any("given up" in line for line in watched.said), ANSWERS_WITHIN)
    assert len(watched.supervisor.restarts) == HURRIED.attempts
    assert "4 times in a row: given up; its last words:" in watched.said[-1]
    assert "/nowhere/insults" in watched.said[-1]
    assert watched.gone == [handle]  # nobody ever knew of the others
    eventually(lambda: handle.told_to_stop, ANSWERS_WITHIN)  # so it counts no more, and can be replaced


def test_one_that_can_start_later_takes_the_place_then(watched: Watched, tmp_path: Path) -> None:
    insults = tmp_path / "insults"
    handle = watched.start(then=node("--insults", str(insults)))
    watched.launcher.kill(handle)
    eventually(lambda: len(watched.supervisor.restarts) > 1, ANSWERS_WITHIN)
    insults.write_text("tonto\n")
    eventually(lambda: watched.moves, ANSWERS_WITHIN)
    [(old, new)] = watched.moves
    assert old is handle
    assert watched.launcher.alive(new)
    assert {restart.new_pid for restart in watched.supervisor.restarts} == {new.pid}


def test_closing_drains_what_the_supervisor_started(watched: Watched) -> None:
    handle = watched.start()
    watched.launcher.kill(handle)
    eventually(lambda: watched.moves, ANSWERS_WITHIN)
    new = watched.moves[0][1]
    watched.supervisor.close()
    assert watched.launcher.wait(new) == 0  # not killed by the end of the thread that started it


def test_pauses_grow_up_to_a_limit_and_are_none_after_the_first_end() -> None:
    back_off = RestartPolicy(first_seconds=0.1, longest_seconds=5.0)
    assert back_off.pause(1) == 0.0
    assert all(0.05 <= back_off.pause(2) <= 0.1 for _ in range(100))
    assert all(0.4 <= back_off.pause(5) <= 0.8 for _ in range(100))
    assert all(2.5 <= back_off.pause(1000) <= 5.0 for _ in range(100))


@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_every_process_of_a_system_is_there_again_after_a_kill(
    request: pytest.FixtureRequest, middleware: str
) -> None:
    with supervised(request, middleware, Application.SERVICE, nodes=2) as system:
        before = {name: list(handles) for name, handles in system.handles.items()}
        for handle in [handle for handles in before.values() for handle in handles]:
            os.kill(handle.pid, signal.SIGKILL)
        eventually(lambda: all_replaced(system, before), ANSWERS_WITHIN)
        for name in set(before) - {NODE}:
            assert system.handles[name][0].address == before[name][0].address
        with system.service(deadline_seconds=15.0) as client:
            assert client.add_insult("tonto") is True


@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_one_node_on_its_own_is_there_again_where_its_clients_know_it(
    request: pytest.FixtureRequest, middleware: str
) -> None:
    spec = SystemSpec(middleware, Application.FILTER)
    with system_for(request, spec, supervised=True) as system, system.filter(15.0) as client:
        assert client.filter("tonto") == "CENSORED"
        before = {name: list(handles) for name, handles in system.handles.items()}
        for handles in before.values():
            os.kill(handles[0].pid, signal.SIGKILL)
        eventually(lambda: all_replaced(system, before), ANSWERS_WITHIN)
        eventually(lambda: answer(client) == "CENSORED", ANSWERS_WITHIN)


@pytest.mark.parametrize("middleware", [name for name, one in MIDDLEWARES.items() if one.is_direct])
def test_a_master_that_is_told_of_a_dead_node_names_it_no_more_and_a_live_one_still(
    request: pytest.FixtureRequest, middleware: str
) -> None:
    spec = SystemSpec(middleware, Application.FILTER, Architecture.N_NODE, nodes=2)
    with system_for(request, spec) as system:
        dead, live = system.nodes
        system.launcher.kill(dead)
        for node in (dead, live):
            system.middleware.report_dead(system.target, Application.FILTER, node.address)
        assert live_nodes(system) == 1
        with system.filter() as client:
            assert client.filter("tonto") == "CENSORED"


def supervised(
    request: pytest.FixtureRequest, middleware: str, application: Application, nodes: int
) -> System:
    spec = SystemSpec(middleware, application, Architecture.N_NODE, nodes)
    return system_for(request, spec, supervised=True)


def all_replaced(system: System, before: dict[str, list[Handle]]) -> bool:
    old = {handle.pid for handles in before.values() for handle in handles}
    new = [handle for handles in system.handles.values() for handle in handles]
    return len(new) == len(old) and all(h.pid not in old and system.launcher.alive(h) for h in new)


def answer(client: InsultFilter) -> str:
    try:
        return client.filter("tonto")
    except LabError as error:
        return str(error)


def live_nodes(system: System) -> int:
    """Ask the master how many nodes it knows."""
    address = system.handles[MASTER][0].address
    if system.spec.middleware == "xmlrpc":
        with ServerProxy(address) as master:
            return len(master.get_nodes()["filter"])  # type: ignore[index,call-overload]
    with Pyro4.Proxy(address) as master:
        return len(master.check_slave())


FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


class Serve:
    """A running ``lab serve``."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def line(self, pattern: str) -> "re.Match[str]":
        """Return the match of the next line that has *pattern*."""
        for line in self.process.stderr or ():
            if found := re.search(pattern, line):
                return found
        pytest.fail(f"ended with {self.process.wait()} without saying {pattern!r}")

    def end(self, how: signal.Signals) -> int:
        """Send it *how*; return its exit code, once its processes are gone."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(how)
        code = self.process.wait(SECONDS)
        assert not [child for child in children if child.is_running()]
        return code


@contextmanager
def serve(*options: str) -> Iterator[Serve]:
    command = [sys.executable, "-m", "lab", "serve", *options]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Serve(process)
        finally:
            process.terminate()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_killed_node_is_reported_and_there_again_and_nothing_is_left_at_the_end(
    how: signal.Signals,
) -> None:
    with serve("xmlrpc", "filter", "--free-ports") as served:
        pid = int(served.line(r"^node .*\(process (\d+)\)")[1])
        served.line("Ctrl-C ends it")
        os.kill(pid, signal.SIGKILL)
        served.line(rf"^node \(process {pid}\) was killed by SIGKILL; starting it again at once")
        new = int(served.line(r"^node serves again after .* \(process (\d+)\)")[1])
        assert psutil.Process(new).is_running()
        assert served.end(how) == INTERRUPTED


def test_without_restarts_it_ends_with_its_last_process() -> None:
    with serve("xmlrpc", "filter", "--free-ports", "--no-restart") as served:
        pid = int(served.line(r"^node .*\(process (\d+)\)")[1])
        served.line("Ctrl-C ends it")
        os.kill(pid, signal.SIGKILL)
        served.line("was killed by SIGKILL; its last words")
        assert served.process.wait(SECONDS) == FAILED


@pytest.mark.usefixtures("usual_ports")
def test_a_taken_port_is_one_line_that_says_what_to_do() -> None:
    with ExitStack() as stack:
        with suppress(OSError):  # taken by another system already
            stack.enter_context(socket.create_server(("127.0.0.1", FILTER_PORT)))
        served = stack.enter_context(serve("xmlrpc", "filter"))
        said = served.process.communicate(timeout=SECONDS)[1].splitlines()
    assert len(said) == 1
    assert f"cannot listen on 127.0.0.1:{FILTER_PORT}" in said[0]
    assert "--free-ports" in said[0]
    assert served.process.returncode == WRONG_USAGE
