"""`lab watch` as a command: what is wrong is told in a line, and each middleware is shown and played with."""

import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.bootstrap import ROOT
from lab.cli.commands import COMMANDS
from lab.errors import InternalError, InvalidRequest, LabError, NotFound, Unavailable
from lab.middleware import MIDDLEWARES
from tests.eventually import eventually
from tests.watch.page import Watching, has_keys, still_running, watching
from watch.hub import MOST_WAITING, MainThreadExecutor
from watch.nodes import MOST_NODES

END_SECONDS = 30.0
INTERRUPTED = 130


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["redis_impl", "filter", "--nodes", "500"], f"from 1 to {MOST_NODES}"),
        (["redis_impl", "filter", "--policy", "hpa"], "means nothing to redis_impl"),
        (["dynamic", "filter"], "stands alone"),
        (["redis_impl", "service", "--work-time", "1ms"], "means nothing to the service"),
        (["redis_impl", "--rate", "nan"], "not a rate"),
        (["redis_impl", "--work-time", "5"], "write 5s or 5ms"),
        (["redis_impl", "--work-time", "3s"], "the most here"),
        (["redis_impl", "--host", "here:80"], "not a host"),
        (["soap"], "no middleware 'soap'"),
        (["xmlrpc", "soap"], "no middleware 'soap'"),
        (["xmlrpc:plain"], "no middleware"),
        (["redis_impl", "redis"], "such as redis_impl redis_impl:stock;"),
        (["redis_impl:stock", "redis:stock"], "such as redis_impl:stock redis_impl;"),
        (["redis_impl", "xmlrpc", "pyro4"], "2 systems fit"),
        (["dynamic", "redis_impl"], "stands alone"),
        (["dynamic", "--policy", "foo"], "no policy 'foo'"),
        (["dynamic", "--policy", "static:workers=-1"], "above 0"),
        (["dynamic", "--policy", "reference"], "knows the rates to come"),
        (["dynamic", "--nodes", "2"], "means nothing to dynamic"),
        (["dynamic", "--work-time", "0s"], "must be above 0"),
    ],
)
def test_a_wrong_command_line_is_told(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        COMMANDS["watch"].run(options)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "lab", "watch", "redis_impl", "--port"]
        command.append(str(listener.getsockname()[1]))
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "cannot listen" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("host", ["nosuch.invalid", "192.0.2.1", "a..b", 70 * "a"])
def test_a_host_that_is_no_address_here_is_told_before_anything_starts(host: str) -> None:
    with pytest.raises(InvalidRequest, match=f"--host: {host} is no address of this machine"):
        COMMANDS["watch"].run(["redis_impl", "--host", host])


def working(executor: MainThreadExecutor) -> None:
    """Run its tasks in a thread of this test."""
    threading.Thread(target=executor.work, daemon=True).start()


def refuse() -> None:
    raise NotFound("no such node")


def test_a_task_that_fails_in_any_way_ends_nothing_but_itself() -> None:
    executor = MainThreadExecutor()
    working(executor)
    with pytest.raises(NotFound):
        executor.run(refuse)
    with pytest.raises(InternalError):
        executor.run(lambda: 1 // 0)
    with pytest.raises(InternalError):
        executor.run(lambda: [][0])
    assert executor.run(lambda: 7) == 7


def test_several_threads_may_close_it_while_tasks_come() -> None:
    for _ in range(200):
        executor = MainThreadExecutor()
        with ThreadPoolExecutor(2 * MOST_WAITING) as pool:
            asked = [pool.submit(executor.run, lambda: 7) for _ in range(MOST_WAITING)]
            closed = [pool.submit(executor.close) for _ in range(MOST_WAITING)]
            for one in closed:
                one.result(END_SECONDS)
            for task in asked:
                assert isinstance(task.exception(END_SECONDS), LabError)


def test_the_task_under_way_is_refused_when_a_signal_ends_the_work() -> None:
    executor = MainThreadExecutor()

    def interrupted() -> None:
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(executor.run, interrupted)
        with pytest.raises(KeyboardInterrupt):
            executor.work()
        executor.close()
        executor.close()
        assert isinstance(asked.exception(END_SECONDS), Unavailable)


def ends_without_a_trace(page: Watching, redis_url: str) -> None:
    """Press Ctrl-C, and look for what is left."""
    namespace = page.namespace
    started = page.running()
    assert page.end() == INTERRUPTED
    assert not still_running(started)
    assert not has_keys(redis_url, namespace)
    assert "Traceback" not in page.err, page.err


@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_both_applications_are_shown_and_played_with(middleware: str, redis_url: str, amqp_url: str) -> None:
    options = (middleware, "--nodes", "1", "--interval", "200ms")
    with watching(*options, redis_url=redis_url, amqp_url=amqp_url) as page:
        eventually(lambda: page.point().get("achieved", 0) > 5, 30.0)
        assert page.press("scale", application="filter", count=2)["said"] == "2 filter nodes serve."
        page.press("start_broadcast")
        eventually(lambda: len(page.lines("tick")) >= 2, 30.0)
        page.press("add_insult", insult="zopenquillo")
        eventually(lambda: page.press("send_text", text="a zopenquillo").get("text") == "a CENSORED")
        (pid, *_) = eventually(page.nodes)
        page.press("kill_node", pid=pid)
        eventually(lambda: any("serves again" in line for line in page.lines("node")), 30.0)
        eventually(lambda: page.point().get("achieved", 0) > 5, 30.0)
        ends_without_a_trace(page, redis_url)


def test_the_service_alone_has_no_buttons_of_the_filter(redis_url: str) -> None:
    with watching("redis_impl", "service", "--nodes", "1", redis_url=redis_url) as page:
        actions = page.state()["description"]["actions"]
        assert "start_broadcast" in actions
        assert "send_text" not in actions
        eventually(lambda: page.point().get("achieved", 0) > 5, 30.0)
        assert page.press("add_insult", insult="zopenquillo")["status"] == 200


def _filter_nodes(page: Watching) -> list[str]:
    """Return the system of each filter node that the page shows."""
    return sorted(row["system"] for row in page.state()["rows"] if row["name"] == "filter node")


def test_stock_and_tuned_stand_side_by_side_under_the_same_load(redis_url: str, amqp_url: str) -> None:
    options = ("rabbitmq:stock", "rabbitmq", "filter", "--nodes", "1", "--rate", "10")
    with watching(*options, redis_url=redis_url, amqp_url=amqp_url) as page:
        labels = [system["label"] for system in page.state()["description"]["systems"]]
        assert labels == ["RabbitMQ stock", "RabbitMQ"]
        eventually(lambda: (p := page.point()).get("achieved", 0) > 5 and p.get("achieved_2", 0) > 5, 40.0)
        assert page.press("load", rate=30)["said"].endswith("to each of the two.")
        eventually(lambda: (p := page.point())["achieved"] > 20 and p["achieved_2"] > 20, 30.0)
        assert page.press("scale", application="filter", count=2)["status"] == 200
        eventually(lambda: _filter_nodes(page) == 2 * ["RabbitMQ"] + 2 * ["RabbitMQ stock"], 40.0)
        assert page.press("send_text", text="a fool")["text"] == "a CENSORED"
        ends_without_a_trace(page, redis_url)


def test_workers_follow_the_publishers_rate(redis_url: str, amqp_url: str) -> None:
    options = ("dynamic", "--rate", "10", "--max", "4", "--work-time", "20ms")
    with watching(*options, redis_url=redis_url, amqp_url=amqp_url) as page:
        eventually(lambda: page.nodes("worker", "ready"), 40.0)
        assert page.state()["facts"]["reason"]
        assert "100 events" in page.press("load", rate=100)["said"]
        eventually(lambda: page.point().get("wanted", 0) >= 2, 40.0)
        point = eventually(lambda: (p := page.point()).get("p99") and (p["finished"] or 0) > 20 and p, 40.0)
        assert point
        assert point["ready"] >= 1
        pid = page.nodes("worker", "ready")[0]
        assert page.press("kill_node", pid=1)["code"] == "NOT_FOUND"
        assert page.press("kill_node", pid=pid)["status"] == 200
        eventually(lambda: pid not in page.nodes("worker", "ready") and page.nodes("worker", "ready"), 20.0)
        eventually(lambda: any("was killed by SIGKILL" in line for line in page.lines("fault")), 20.0)
        page.press("load", rate=40)
        assert page.press("policy", policy="foo")["code"] == "MALFORMED"
        assert page.press("policy", policy="static:workers=3")["status"] == 200
        eventually(lambda: page.point().get("ready") == 3 and page.state()["facts"]["reason"], 40.0)
        assert page.state()["facts"]["policy"] == "static:workers=3"
        assert page.press("work", milliseconds=300)["status"] == 200
        eventually(lambda: page.point()["backlog"] > 40, 40.0)
        assert not any("ended by itself" in line for line in page.lines("fault"))
        page.press("work", milliseconds=1)
        page.press("load", rate=0)
        ends_without_a_trace(page, redis_url)
