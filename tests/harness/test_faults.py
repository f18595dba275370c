"""Faults: what the proxy does to replies, what is promised under each fault, and ``lab faults`` as a command.

Every line of the table of promises is tried at a size that a test can take. Counts, codes and survival are
tested, and that no call passes its deadline. How long things take is judged by ``lab faults``, on a machine
that does nothing else.
"""

import json
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.faults.proxy import Harm, Proxy
from harness.faults.rig import Rig, Scenario, Size
from harness.faults.scenarios.session import SCENARIOS
from harness.faults.site import Brokers, Site, site
from harness.record.run import Check
from harness.report.faults import describe_fault
from lab.bootstrap import ROOT
from lab.contract import Application, InsultService
from lab.errors import NoInsults
from lab.middleware import MIDDLEWARES
from tests.eventually import eventually

SECONDS = 90.0
TIMES = frozenset({"s", "ms", "x"})
DEADLINES = frozenset({"slowest call", "slowest new client"})
OVER = {
    "frozen": ["redis_impl"],
    "masters": ["xmlrpc"],
    "poison": ["pyro4"],
    "drain": ["xmlrpc", "redis_impl", "rabbitmq"],
    "redis-killed": ["xmlrpc", "redis_impl", "rabbitmq"],
    "malformed": ["xmlrpc", "redis_impl"],
    "silent": ["redis_impl", "rabbitmq"],
    "subscribers": ["xmlrpc", "pyro4", "redis_impl"],
    "deleted": ["pyro4", "rabbitmq"],
    "full": ["xmlrpc", "rabbitmq"],
    "twice": ["pyro4", "redis_impl"],
    "clock": ["rabbitmq"],
}
"""Where a scenario is tried here, if not over all. Over the others, the middleware's own tests prove the same
(test_faults.py, test_broker_faults.py, test_wire.py ...), or both direct ones run the same code of lab/.
"""
CASES = [
    pytest.param(scenario, name, id=f"{scenario.name}-{name}")
    for scenario in SCENARIOS.values()
    for name in OVER.get(scenario.name, scenario.middlewares)
]


@pytest.fixture
def rig(private_brokers: Brokers) -> Rig:
    """What a scenario is given, at the size of a test."""
    return Rig(private_brokers, seed=1, size=Size.BRIEF)


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "middleware"), CASES)
def test_what_is_promised_holds(rig: Rig, scenario: Scenario, middleware: str) -> None:
    if missing := scenario.missing():
        pytest.skip(missing)
    trial = scenario.run(rig, middleware)
    assert not [check for check in trial.checks if is_tested(check) and not check.holds], describe_fault(
        trial
    )


def test_stock_over_rabbitmq_loses_no_text_of_a_killed_node_and_may_do_it_twice(rig: Rig) -> None:
    trial = SCENARIOS["kills"].run(rig, "rabbitmq:stock")
    assert trial.counts["lost"] == 0, describe_fault(trial)
    assert trial.counts["applied"] > 0


def is_tested(check: Check) -> bool:
    """Leave speeds out; what was never over has no time, and fails."""
    return check.value is None or check.unit not in TIMES or check.what in DEADLINES


STEPS = 40
KILLS = 4
INSULTS = [
    f"{adjective} {noun}" for adjective in ("vile", "gran") for noun in ("fool", "tonto", "ñu", "knave")
]
SET_DEADLINE_SECONDS = 20.0


@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_insults_are_a_set_whatever_node_dies(private_brokers: Brokers, middleware: str) -> None:
    chance = random.Random(f"{middleware} 1")
    deadly = set(chance.sample(range(STEPS), KILLS))
    model: set[str] = set()
    with (
        site(middleware, Application.SERVICE, private_brokers) as system,
        system.service(SET_DEADLINE_SECONDS) as client,
    ):
        for number in range(STEPS):
            if number in deadly:
                kill_one(system, chance)
            step(client, model, chance, number)
        assert client.get_insults() == sorted(model)


def step(client: InsultService, model: set[str], chance: random.Random, number: int) -> None:
    """Do the same to both, and compare the answers."""
    insult = chance.choice(INSULTS)
    what = chance.choice(("add", "add", "remove", "list", "page", "random"))
    said = f"step {number}: {what} {insult}"
    if what == "add":
        assert client.add_insult(insult) is (insult not in model), said
        model.add(insult)
    elif what == "remove":
        assert client.remove_insult(insult) is (insult in model), said
        model.discard(insult)
    elif what == "list":
        assert client.get_insults() == sorted(model), said
    elif what == "page":
        assert client.get_insults(insult, 2) == sorted(each for each in model if each > insult)[:2], said
    elif model:
        assert client.insult_me() in model, said
    else:
        with pytest.raises(NoInsults):
            client.insult_me()


def kill_one(system: Site, chance: random.Random) -> None:
    """kill -9 a node; its supervisor starts it again while the steps go on."""
    live = eventually(lambda: system.live, within=20.0)
    system.launcher.kill(chance.choice(live))


def started(*options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.faults", *options]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


@pytest.mark.slow
@pytest.mark.usefixtures("private_brokers")  # where there are none the command cannot run either
def test_an_interrupted_run_ends_all_it_started_and_keeps_its_results(tmp_path: Path) -> None:
    with started("--scenario", "kills", "--only", "xmlrpc", "--results", str(tmp_path)) as command:
        try:
            own = psutil.Process(command.pid)
            eventually(lambda: len(own.children(recursive=True)) > 8, within=SECONDS)
            children = own.children(recursive=True)
            command.send_signal(signal.SIGINT)
            said = command.communicate(timeout=SECONDS)[1]
        finally:
            command.kill()
    assert command.returncode == 130, said[-2000:]
    assert "Interrupted: what was measured until then is kept." in said
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    run = json.loads((tmp_path / "latest" / "run.json").read_text(encoding="utf-8"))
    assert run["configuration"]["scenarios"] == ["kills"]
    assert (tmp_path / "latest" / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--scenario", "kill"], "no scenario 'kill'; there are kills, frozen"),
        (["--only", "pyro5"], "no middleware 'pyro5'; there are xmlrpc"),
        (["--soak", "0s"], "'0s' is too short"),
    ],
)
def test_wrong_usage_is_one_clear_line(options: list[str], said: str) -> None:
    with started(*options) as command:
        error = command.communicate(timeout=SECONDS)[1]
    assert command.returncode == 2
    assert said in error
    assert "Traceback" not in error


def test_every_scenario_says_what_it_promises() -> None:
    for name, scenario in SCENARIOS.items():
        assert name == scenario.name
        assert set(OVER.get(name, [])) <= set(scenario.middlewares)
        assert len(scenario.promise.split()) > 3
        assert 0 < scenario.seconds < scenario.full_seconds


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it gets, on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


def _serve(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection:
        while received := connection.recv(65536):
            connection.sendall(received)


REPLY_SECONDS = 10.0


def ask(proxy: Proxy, echo: int, seconds: float = REPLY_SECONDS) -> socket.socket:
    """Connect through *proxy* and send ten bytes."""
    port = proxy.listen("127.0.0.1", 0, "127.0.0.1", echo)
    connection = socket.create_connection(("127.0.0.1", port), seconds)
    connection.sendall(b"0123456789")
    return connection


def read_all(connection: socket.socket, size: int = 10) -> bytes:
    received = b""
    while len(received) < size and (part := connection.recv(size)):
        received += part
    return received


@pytest.mark.parametrize(
    ("harms", "comes"),
    [
        pytest.param({}, b"0123456789", id="no harm"),
        pytest.param({Harm.DELAY: 1.0}, b"0123456789", id="a delayed reply is whole"),
        pytest.param({Harm.TRICKLE: 1.0}, b"0123456789", id="a reply byte by byte is whole"),
        pytest.param({Harm.DROP: 1.0}, b"", id="a dropped reply never comes and its connection ends"),
        pytest.param({Harm.HALF_CLOSE: 1.0}, b"01234", id="a half-closed reply is half"),
    ],
)
def test_what_comes_of_a_reply(echo: int, harms: dict[Harm, float], comes: bytes) -> None:
    with Proxy(1, harms) as proxy:
        proxy.is_armed = True
        with ask(proxy, echo) as connection:
            assert read_all(connection) == comes
            assert len(comes) == 10 or connection.recv(10) == b""
        assert set(proxy.done) == set(harms)


def test_a_reset_is_one(echo: int) -> None:
    with Proxy(1, {Harm.RESET: 1.0}) as proxy:
        proxy.is_armed = True
        with ask(proxy, echo) as connection, pytest.raises(ConnectionResetError):
            connection.recv(10)


def test_a_black_hole_says_nothing_and_stays_open(echo: int) -> None:
    with Proxy(1, {Harm.BLACK_HOLE: 1.0}) as proxy:
        proxy.is_armed = True
        with ask(proxy, echo, seconds=0.3) as connection:
            with pytest.raises(TimeoutError):
                connection.recv(10)
            connection.sendall(b"more")


def test_before_it_is_armed_it_harms_nobody(echo: int) -> None:
    with Proxy(1, {Harm.DROP: 1.0}) as proxy, ask(proxy, echo) as connection:
        assert read_all(connection) == b"0123456789"
        assert not proxy.done.total()


def test_the_same_seed_harms_the_same_replies(echo: int) -> None:
    outcomes = []
    for _ in range(2):
        with Proxy(5, {Harm.DELAY: 0.3}) as proxy:
            proxy.is_armed = True
            with ask(proxy, echo) as connection:
                for _ in range(20):
                    read_all(connection)
                    connection.sendall(b"0123456789")
                read_all(connection)
            outcomes.append((proxy.replies, proxy.done[Harm.DELAY]))
    assert outcomes[0] == outcomes[1]


def test_nothing_is_left_when_it_ends(echo: int) -> None:
    with Proxy(1, {Harm.BLACK_HOLE: 1.0}) as proxy:
        proxy.is_armed = True
        connection = ask(proxy, echo)
        eventually(lambda: proxy.done[Harm.BLACK_HOLE])
    assert connection.recv(10) == b""
    connection.close()
