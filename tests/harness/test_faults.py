"""Faults: what the proxy does to replies, what is promised under each fault, ``lab faults``, and the ledger.

Every line of the table of promises is tried at a size that a test can take. Counts, codes and survival are
tested, and that no call passes its deadline. How long things take is judged by ``lab faults``, on a machine
that does nothing else. The ledger has every request in exactly one place.
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
from hypothesis import given
from hypothesis import strategies as st

from harness.faults.load import (
    EFFECTS,
    Entry,
    Found,
    Outcome,
    close,
    held_up,
    outcome_of,
    percentile,
    resumed,
    timeline,
)
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
from lab.operations import Operation
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
    assert run["configuration"]["scenarios"] == {"kills": SCENARIOS["kills"].promise}
    assert (tmp_path / "latest" / "report.html").exists()


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


SECOND = 1_000_000_000
ACKNOWLEDGED, REJECTED, INDETERMINATE = Outcome.ACKNOWLEDGED, Outcome.REJECTED, Outcome.INDETERMINATE


def entry(
    token: str,
    outcome: Outcome = ACKNOWLEDGED,
    operation: Operation = Operation.SUBMIT,
    *,
    is_right: bool = True,
    at: float = 0.0,
    took: float = 0.1,
    client: int = 0,
) -> Entry:
    sent = int(at * SECOND)
    petition_id = f"id-{token}" if outcome is ACKNOWLEDGED and operation is Operation.SUBMIT else ""
    done = sent + int(took * SECOND)
    return Entry(token, operation, sent, sent, done, outcome, "", is_right, petition_id, client)


def found(token: str, **more: object) -> Found:
    return Found(token, f"id-{token}", **more)  # type: ignore[arg-type]


def test_what_is_there_under_another_id_than_the_clients_is_lost_to_it() -> None:
    assert close([entry("a")], [Found("a", "somebody's")]).lost == ["a"]


def test_an_indeterminate_request_is_never_lost_and_recovered_if_it_is_there() -> None:
    account = close([entry("a", INDETERMINATE), entry("b", INDETERMINATE)], [found("b")])
    assert (account.lost, account.unexpected, account.recovered) == ([], [], 1)


def test_an_insult_never_sent_before_that_was_there_already_had_its_effect_twice() -> None:
    account = close([entry("a", operation=Operation.ADD_INSULT, is_right=False)], [Found("a")])
    assert account.duplicated == ["a"]


def test_executions_beyond_the_first_are_counted_and_are_no_effects() -> None:
    account = close([entry("a"), entry("b")], [found("a"), found("b")], ["a", "a", "a", "b", "canary"])
    assert (account.repeated, account.duplicated) == (2, [])


def test_wrong_contents_are_named() -> None:
    entries = [entry("a", operation=Operation.FILTER, is_right=False), entry("b")]
    assert close(entries, [found("b", is_right=False)]).wrong == ["a", "b"]


def test_an_error_that_leaves_it_open_is_indeterminate_and_a_refusal_is_not() -> None:
    assert {outcome_of(code) for code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL_ERROR")} == {
        INDETERMINATE
    }
    assert {outcome_of(code) for code in ("OVERLOADED", "TOO_LARGE", "MALFORMED")} == {REJECTED}


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.sampled_from(Outcome), max_size=20),
    st.lists(st.text("abcz", min_size=1, max_size=3), max_size=30),
)
def test_every_token_is_in_its_place(outcomes: dict[str, Outcome], applied: list[str]) -> None:
    entries = [entry(token, outcome) for token, outcome in outcomes.items()]
    account = close(entries, [found(token) for token in applied])
    acknowledged = {token for token, outcome in outcomes.items() if outcome is ACKNOWLEDGED}
    rejected = {token for token, outcome in outcomes.items() if outcome is REJECTED}
    assert set(account.lost) == acknowledged - set(applied)
    assert set(account.unexpected) == set(applied) - (set(outcomes) - rejected)
    assert set(account.duplicated) == {token for token in applied if applied.count(token) > 1}
    assert sum(account.outcomes.values()) == account.attempted == len(outcomes)


def test_every_effect_is_an_operation_of_the_ledger() -> None:
    assert {Operation.ADD_INSULT, Operation.SUBMIT} == EFFECTS


def test_answers_are_counted_where_they_came() -> None:
    line = timeline(
        [entry("a", at=0.1), entry("b", at=0.1, took=0.9), entry("c", INDETERMINATE, at=0.6)], 0, 0.5
    )
    assert (line.done, line.unanswered) == ([1, 0, 1], [0, 1, 0])
    assert [value and round(value) for value in line.p99_ms] == [100, None, 900]


def test_what_was_under_way_at_a_fault_waits_from_then_and_what_came_later_from_its_plan() -> None:
    entries = [
        entry("under way", at=0.9, took=0.6),
        entry("over", at=0.5, took=0.1),
        entry("later", at=1.5, took=0.2),
        entry("much later", at=9.0),
    ]
    assert sorted(round(delay, 3) for delay in held_up(SECOND, entries)) == [0.2, 0.5]


def test_a_submitted_text_without_its_result_is_under_way() -> None:
    delays = held_up(SECOND, [entry("a", at=0.5)], [found("a", finished_ns=3 * SECOND)])
    assert delays == [2.0]


def test_clients_have_resumed_when_the_last_of_them_has_an_answer() -> None:
    entries = [entry("a", at=1.0, took=0.5), entry("b", at=1.0, took=2.0, client=1)]
    assert resumed(SECOND, entries) == 2.0
    assert resumed(SECOND, [*entries, entry("c", INDETERMINATE, at=1.0, client=2)]) is None


def test_a_percentile_of_few_is_the_largest() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert percentile(range(1, 1001), 0.99) == 990
    assert percentile([], 0.99) is None
