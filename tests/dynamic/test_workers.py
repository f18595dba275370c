"""Workers of a pool: quick to start, the oldest leave first; how programs end, and what bad input gets."""

import os
import signal
import socket
import statistics
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import psutil
import pytest

from dynamic.pool.client import PoolClient
from dynamic.pool.pool import STARTING_AT_ONCE
from lab.addresses import free_port
from lab.process.launcher import usable_cores
from lab.process.node import STOP_SIGNALS
from lab.settings import settings
from tests.dynamic.conftest import Load, Rig, ask_broker, number, workers
from tests.eventually import eventually


def test_a_spare_worker_takes_its_first_event_at_once(
    rig: Rig, load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = rig.pool("--max", "1", "--spares", "1")
    first: list[float] = []
    for turn in range(20):
        eventually(lambda: workers(pool, "spare") and not workers(pool, "leaving"))
        load.send(1)
        pool.scale(1)
        eventually(lambda turn=turn: load.done == turn + 1)  # type: ignore[misc]
        status = pool.scale(0)
        first += [worker.first_seconds for worker in status.workers if worker.first_seconds]
    with capsys.disabled():
        print(f"\nfirst event after (20 workers): median {1000 * statistics.median(first):.1f} ms", end=", ")
        print(f"from {1000 * min(first):.1f} to {1000 * max(first):.1f} ms")
    assert len(first) == 20


def test_the_oldest_workers_leave_first(rig: Rig) -> None:
    pool = rig.pool("--max", "5")
    scale(pool, 3)
    old = workers(pool)
    scale(pool, 5)
    young = workers(pool)[3:]
    assert workers(pool)[:3] == old
    scale(pool, 2)
    assert workers(pool) == young


def test_a_pool_keeps_to_its_most_workers(rig: Rig) -> None:
    pool = rig.pool("--max", "2")
    pool.scale(100)
    eventually(lambda: len(workers(pool)) == 2)
    assert number(pool, "wanted") == 2


def test_a_large_batch_starts_in_turn_and_counts_as_starting_from_the_wish_on(rig: Rig) -> None:
    pool = rig.pool("--max", "20", "--spares", "0")
    status = pool.scale(20)
    assert status.starting == 20
    assert len(status.workers) <= STARTING_AT_ONCE
    eventually(lambda: len(workers(pool)) == 20)


def test_a_pool_forks_from_a_single_thread(rig: Rig) -> None:
    pool = rig.pool("--max", "2")
    scale(pool, 2)
    assert psutil.Process(number(pool, "pid")).num_threads() == 1


def test_fifteen_cycles_up_and_down_lose_nothing_and_do_nothing_twice(rig: Rig, load: Load) -> None:
    pool = rig.pool("--max", "8", "--work-time", "5ms")
    with load.at(60):
        for _ in range(15):
            pool.scale(8)
            eventually(lambda: len(workers(pool)) >= 3, within=30.0)
            pool.scale(1)
            eventually(lambda: len(workers(pool)) <= 1, within=30.0)
    scale(pool, 8)
    load.assert_none_lost()
    assert load.repeated == 0
    assert number(pool, "crashed") == 0
    assert number(pool, "finished") == load.sent


def test_thirty_workers_start_at_once(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    pool = rig.pool("--max", "30", "--spares", "0")
    scale(pool, 30)
    status = pool.status()
    slowest = max(worker.start_seconds or 0.0 for worker in status.workers)
    with capsys.disabled():
        print(f"\n30 cold workers: all ready after {slowest:.2f} s")


def test_how_many_are_under_way_and_were_finished_is_counted(rig: Rig, load: Load) -> None:
    pool = rig.pool("--max", "3", "--work-time", "300ms", "--prefetch", "2")
    load.send(9)
    scale(pool, 3)
    eventually(lambda: number(pool, "under_way") == 6)
    load.assert_none_lost()
    eventually(lambda: (number(pool, "under_way"), number(pool, "finished")) == (0, 9))


def scale(pool: PoolClient, wanted: int) -> None:
    """Wait until *wanted* workers take events, and all others are gone."""
    pool.scale(wanted)
    eventually(lambda: len(workers(pool)) == wanted and not workers(pool, "leaving"), within=20.0)


def test_without_load_there_is_no_worker_and_with_load_there_is(rig: Rig, load: Load) -> None:
    controller = rig.controller("--min", "0", "--max", "1")
    client = rig.client()
    eventually(controller.readings)
    assert workers(client) == []
    with load.at(50):
        eventually(lambda: load.done > 20, within=20.0)
        assert len(workers(client)) == 1
    eventually(lambda: workers(client) == [], within=30.0)
    load.assert_none_lost()


def test_queues_may_be_quorum_queues(rig: Rig) -> None:
    load = Load(rig, "quorum")
    rig.controller("--queue-type", "quorum", "--min", "2")
    load.send(200)
    load.assert_none_lost()
    assert load.repeated == 0


def test_one_node_needs_no_redis(rig: Rig, load: Load) -> None:
    rig.environment["LAB_REDIS_URL"] = "redis://127.0.0.1:1/0"
    rig.controller("--architecture", "one-node", "--min", "2")
    load.send(200)
    load.assert_none_lost()


def test_a_policy_is_told_what_processor_time_the_workers_use(rig: Rig, load: Load) -> None:
    controller = rig.controller("--work-cpu", "20ms", "--policy", "static:workers=2")
    with load.at(50):
        eventually(lambda: [one for one in controller.readings() if one["sample"]["cpu_seconds"] > 0.05])
    assert controller.readings()[-1]["sample"]["cores"] == usable_cores()


ENDS = [(signal.SIGINT, 130), (signal.SIGTERM, 0)]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(("how", "code"), ENDS)
def test_a_controller_ends_with_its_workers(
    rig: Rig, load: Load, how: signal.Signals, code: int, times: int
) -> None:
    controller = rig.controller("--policy", "static:workers=2", "--work-time", "300ms")
    client = rig.client()
    load.send(20)
    eventually(lambda: len(workers(client)) == 2)
    for _ in range(times):
        controller.process.send_signal(how)
    assert controller.wait() == code
    assert "Traceback" not in controller.err
    rig.assert_nothing_left()
    assert load.repeated == 0


def test_a_controller_that_is_told_to_stop_while_it_starts_leaves_nothing(rig: Rig) -> None:
    for lead in (0.3, 0.6, 0.9):
        controller = rig.run("dynamic", "--min", "2")
        with pytest.raises(AssertionError):
            eventually(lambda: False, within=lead)
        controller.process.send_signal(signal.SIGINT)
        assert controller.wait() in (130, -signal.SIGINT)
        rig.assert_nothing_left()


@pytest.mark.parametrize(("how", "code"), ENDS)
def test_a_pool_drains(rig: Rig, load: Load, how: signal.Signals, code: int) -> None:
    pool = rig.run("dynamic.pool", "--max", "2", "--work-time", "300ms")
    pool.wait_ready()
    client = rig.client()
    load.send(6)
    client.scale(2)
    eventually(lambda: len(workers(client)) == 2)
    for process in rig.processes():  # as a terminal does: to all of the group
        with suppress(psutil.NoSuchProcess):  # the pool may have ended its spare by now
            process.send_signal(how)
    assert pool.wait() == code
    rig.assert_nothing_left()
    assert load.repeated == 0


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(("how", "code"), ENDS)
def test_a_publisher_ends(rig: Rig, how: signal.Signals, code: int, times: int) -> None:
    publisher = rig.run("dynamic.publisher", "--rate", "100")
    eventually(lambda: "sent" in publisher.out)
    for _ in range(times):
        publisher.process.send_signal(how)
    assert publisher.wait() == code
    assert publisher.err == ""


CONTROLLER, PUBLISHER = "dynamic", "dynamic.publisher"
MAINS = {CONTROLLER: "dynamic.__main__", PUBLISHER: PUBLISHER}
Refuse = Callable[[str, list[str], str], None]

USAGE = [
    (CONTROLLER, ["--min", "3", "--max", "2"], "--min 3 is more than --max 2"),
    (CONTROLLER, ["--C", "0"], "above 0"),
    (CONTROLLER, ["--C", "many"], "above 0"),
    (CONTROLLER, ["--max", "0"], "not from 1 to 1000"),
    (CONTROLLER, ["--interval", "0s"], "too short"),
    (CONTROLLER, ["--policy", "magic"], "no policy 'magic'"),
    (CONTROLLER, ["--policy", "static:hands=3"], "no setting 'hands'"),
    (CONTROLLER, ["--policy", "static:workers=0"], "above 0"),
    (CONTROLLER, ["--policy", "static:workers=many"], "above 0"),
    (CONTROLLER, ["--insults", "/nowhere.txt"], "cannot be read"),
    (CONTROLLER, ["--architecture", "one-node", "--insults", "/nowhere.txt"], "cannot be read"),
    (CONTROLLER, ["--forecast", "/nowhere.json"], "not a forecast"),
    (PUBLISHER, ["--rate", "0"], "a rate must be a number above 0"),
    (PUBLISHER, ["--rate", "nan"], "a rate must be a number above 0"),
    (PUBLISHER, ["--profile", "magic"], "magic"),
    (PUBLISHER, ["--seed", "-1"], "seed"),
    (PUBLISHER, ["--corpus", "/nowhere.txt"], "cannot be read"),
    (PUBLISHER, ["--trace", "/nowhere.csv"], "cannot be read"),
    (PUBLISHER, ["--address", "nonsense"], "give a URL like amqp://"),
]
TRACES = {
    "empty": "",
    "unsorted": "timestamp,value\n2014-04-10 00:09:00,5\n2014-04-10 00:04:00,5\n",
    "negative": "timestamp,value\n2014-04-10 00:04:00,5\n2014-04-10 00:09:00,-5\n",
    "not CSV": "\x00\x01 not a table",
    "no numbers": "timestamp,value\n2014-04-10 00:04:00,many\n2014-04-10 00:09:00,few\n",
    "one line": "timestamp,value\n2014-04-10 00:04:00,5\n",
}
FORECASTS = ["", "[]", "{}", "[" * 100_000, '{"begin": 1}', '{"begin": 1e999, "starts": [], "rates": []}']
WHOLE = '{"begin": 0, "starts": [0], "rates": [%s], "seconds": 1, "service_rates": [[0, %s]]}'
RUBBISH = {
    "not JSON": b"hello\n",
    "not UTF-8": b"\xff\xfe\n",
    "no object": b"[1]\n",
    "no operation": b"{}\n",
    "an unknown operation": b'{"do": "dance"}\n',
    "infinitely many": b'{"do": "scale", "wanted": 1e999}\n',
    "too many digits": b'{"do": "scale", "wanted": 1' + b"0" * 400 + b"}\n",
    "not a number": b'{"do": "scale", "wanted": NaN}\n',
    "a negative number": b'{"do": "scale", "wanted": -1}\n',
    "a list of workers": b'{"do": "scale", "wanted": []}\n',
    "no slowness": b'{"do": "slow", "factor": 0}\n',
    "endless slowness": b'{"do": "slow", "factor": 1e300}\n',
    "nested": b"[" * 100_000 + b"\n",
}


@pytest.fixture
def refuse(rig: Rig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Refuse]:
    """Run a program in this process, which is quicker, and see that it ends as a program should."""
    handlers = {which: signal.getsignal(which) for which in STOP_SIGNALS}
    for name in ("LAB_AMQP_URL", "LAB_REDIS_URL"):
        monkeypatch.setenv(name, rig.environment[name])
    settings.cache_clear()

    def run(module: str, arguments: list[str], told: str) -> None:
        try:
            code = import_module(MAINS[module]).main(["--namespace", rig.namespace, *arguments])
        except SystemExit as left:  # argparse
            code = left.code
        assert code == 2
        assert_one_line(capsys.readouterr().err, told)
        assert rig.processes() == []

    yield run
    settings.cache_clear()
    for which, handler in handlers.items():
        signal.signal(which, handler)


@pytest.mark.parametrize(("module", "arguments", "told"), USAGE)
def test_bad_usage_is_told_in_one_line(refuse: Refuse, module: str, arguments: list[str], told: str) -> None:
    refuse(module, arguments, told)


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_a_bad_trace_is_told_in_one_line(refuse: Refuse, trace: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(trace, encoding="utf-8")
    refuse(PUBLISHER, ["--trace", str(path)], str(path))


@pytest.mark.parametrize("forecast", [*FORECASTS, WHOLE % (-1, 5), WHOLE % (1, 0), WHOLE % ("NaN", 1)])
def test_a_bad_forecast_is_told_in_one_line(refuse: Refuse, forecast: str, tmp_path: Path) -> None:
    path = tmp_path / "forecast.json"
    path.write_text(forecast, encoding="utf-8")
    refuse(CONTROLLER, ["--forecast", str(path)], "not a forecast")


@pytest.mark.parametrize("module", [CONTROLLER, PUBLISHER])
def test_a_broker_that_does_not_answer_is_told_in_one_line(
    refuse: Refuse, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_AMQP_URL", f"amqp://guest:secret@127.0.0.1:{free_port()}/%2F")
    refuse(module, [], "RabbitMQ at amqp://127.0.0.1")


@pytest.mark.parametrize("module", [CONTROLLER, PUBLISHER])
def test_a_wrong_password_is_told_in_one_line(rig: Rig, module: str) -> None:
    url = rig.amqp_url.replace("@", "wrong@")
    said = assert_refused(rig, module, told="ACCESS_REFUSED", LAB_AMQP_URL=url)
    assert "wrong" not in said


def test_a_redis_that_does_not_answer_is_told_in_one_line(
    refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    refuse(CONTROLLER, [], "edis")


@pytest.mark.parametrize("module", [CONTROLLER, PUBLISHER])
@pytest.mark.parametrize("kind", ["work", "count", "exchange"])
def test_a_foreign_queue_or_exchange_of_that_name_is_told_in_one_line(
    rig: Rig, refuse: Refuse, module: str, kind: str
) -> None:
    if (module, kind) == (PUBLISHER, "count"):
        pytest.skip("a publisher does not use Count_queue")
    names = rig.names
    if kind == "exchange":
        assert ask_broker(rig, lambda channel: channel.exchange_declare(names.events, "direct"))
    else:
        queue = names.work if kind == "work" else names.count
        assert ask_broker(rig, lambda channel: channel.queue_declare(queue, arguments={"x-max-length": 1}))
    refuse(module, [], "of another kind")


def test_a_folder_for_sockets_that_others_can_reach_is_told_in_one_line(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / f"lab-{os.getuid()}").mkdir(mode=0o777)
    (tmp_path / f"lab-{os.getuid()}").chmod(0o777)
    assert_refused(rig, CONTROLLER, told="not a folder of yours alone", TMPDIR=str(tmp_path))


def test_a_name_too_long_for_a_socket_is_told(rig: Rig, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    assert_refused(rig, CONTROLLER, told="set TMPDIR", TMPDIR=str(deep))


def test_rubbish_on_the_socket_of_a_pool_is_refused_and_harms_nobody(rig: Rig) -> None:
    pool = rig.pool("--max", "2")
    pool.scale(2)
    eventually(lambda: len(workers(pool)) == 2)
    pid = number(pool, "pid")
    for rubbish in RUBBISH.values():
        assert b'"error"' in _answer(rig, rubbish)
    assert _answer(rig, b"x" * 3_000_000) == b""
    silent = [_connected(rig) for _ in range(100)]
    silent[-1].sendall(b'{"do": "stat')
    assert (number(pool, "pid"), len(workers(pool))) == (pid, 2)
    assert b'"pid"' in _answer(rig, b'{"do": "status"}\n')
    for stream in silent:
        stream.close()


def assert_refused(rig: Rig, module: str, told: str, **environment: str) -> str:
    """The program says *told* in one line, and ends with 2; nothing is left of it."""
    program = rig.run(module, **environment)
    assert program.wait() == 2, program.err
    rig.assert_nothing_left()
    return assert_one_line(program.err, told)


def assert_one_line(err: str, told: str) -> str:
    """The error is one line with *told*, perhaps after the usage."""
    said = err if not err.startswith("usage:") else err.splitlines()[-1] + "\n"
    assert said.count("\n") == 1, err
    assert told in said
    return said


def _connected(rig: Rig) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(str(rig.socket()))
    stream.settimeout(10.0)
    return stream


def _answer(rig: Rig, line: bytes) -> bytes:
    """Return what comes back, nothing if the connection is closed."""
    with _connected(rig) as stream:
        try:
            stream.sendall(line)
            return stream.recv(100_000)
        except ConnectionError:
            return b""
