"""The server of the page, without a browser: who may ask, what is refused, and what buttons do."""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psutil
import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from lab.addresses import allow_files
from lab.errors import Code
from lab.limits import MAX_REQUEST_BYTES, MAX_TEXT_BYTES
from tests.eventually import eventually
from tests.watch.page import Watching, has_keys, still_running, watching
from watch.command import MOST_FILES, PageServer
from watch.nodes import MOST_NODES

LOAD = json.dumps({"rate": 1}).encode()


@pytest.fixture(scope="module")
def page(redis_url: str) -> Iterator[Watching]:
    with watching("redis_impl", "--nodes", "1", "--interval", "200ms", redis_url=redis_url) as command:
        yield command


def test_the_page_allows_nothing_from_elsewhere_and_hands_out_a_strict_cookie(page: Watching) -> None:
    status, headers, body = page.ask("GET", f"/?token={page.token}", Cookie="")
    assert status == 200
    assert b"<!doctype html>" in body
    assert headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "server" not in headers


@pytest.mark.parametrize("path", ["/", "/events", "/api/state", "/page/app.js"])
@pytest.mark.parametrize("cookie", ["", "lab-watch-{port}=wrong", "lab-watch-1={token}", "é"])
def test_nothing_is_shown_without_the_token(page: Watching, path: str, cookie: str) -> None:
    given = cookie.format(port=page.host.rpartition(":")[2], token=page.token)
    status, headers, body = page.ask("GET", path, Cookie=given)
    assert status == 403
    assert b"token" in body
    assert "Set-Cookie" not in headers
    assert headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "[", ""]
)
def test_another_name_that_leads_here_is_refused(page: Watching, host: str) -> None:
    headers = {"Host": host} if host else {"Host": " "}
    for method, path in (("GET", f"/?token={page.token}"), ("POST", "/api/load")):
        status, answered, _ = page.ask(method, path, LOAD, Origin=f"http://{host}", **headers)
        assert status in (400, 403)
        assert "Set-Cookie" not in answered


def test_localhost_is_as_good_as_its_address(page: Watching) -> None:
    host = page.host.replace("127.0.0.1", "localhost")
    assert page.ask("POST", "/api/load", LOAD, Host=host, Origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize(
    "origin", ["", "null", "http://evil.example", "http://127.0.0.1:1", "https://{host}"]
)
def test_another_site_cannot_press_buttons(page: Watching, origin: str) -> None:
    status, _, body = page.ask("POST", "/api/load", b'{"rate": 77}', Origin=origin.format(host=page.host))
    assert status == 403
    assert b"{" not in body
    assert page.state()["facts"].get("rate") != 77


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_only_post_changes_anything(page: Watching, method: str) -> None:
    assert page.ask(method, "/api/load?rate=77", b'{"rate": 77}')[0] == 405
    assert page.point().get("offered") != 77


@pytest.mark.parametrize("path", ["/page/../web.py", "/page/%2e%2e/web.py", "/page//etc/passwd", "/nothing"])
def test_only_the_files_of_the_page_are_served(page: Watching, path: str) -> None:
    assert page.ask("GET", path)[0] == 404


@pytest.mark.parametrize(
    ("action", "body", "code"),
    [
        ("load", b"", Code.MALFORMED),
        ("load", b"[]", Code.MALFORMED),
        ("load", b"{" * 100_000, Code.MALFORMED),
        ("load", b"[" * 100_000, Code.MALFORMED),
        ("load", b'{"rate": "\xff"}', Code.BAD_ENCODING),
        ("load", b"{}", Code.MISSING_FIELD),
        ("load", b'{"rate": "5"}', Code.WRONG_TYPE),
        ("load", b'{"rate": true}', Code.WRONG_TYPE),
        ("load", b'{"rate": null}', Code.WRONG_TYPE),
        ("load", b'{"rate": NaN}', Code.TOO_LARGE),
        ("load", b'{"rate": -1}', Code.TOO_LARGE),
        ("load", b'{"rate": 1e999}', Code.TOO_LARGE),
        ("load", b'{"rate": ' + b"9" * 400 + b"}", Code.TOO_LARGE),
        ("load", b'{"rate": ' + b"9" * 5000 + b"}", Code.MALFORMED),
        ("load", b'"' + b"x" * MAX_REQUEST_BYTES + b'"', Code.TOO_LARGE),
        ("scale", b'{"application": "filter", "count": 500}', Code.TOO_LARGE),
        ("scale", b'{"application": "filter", "count": -1}', Code.TOO_LARGE),
        ("scale", b'{"application": "filter", "count": 1.5}', Code.WRONG_TYPE),
        ("scale", b'{"application": "rm -rf", "count": 1}', Code.MALFORMED),
        ("kill_node", b'{"pid": 1}', Code.NOT_FOUND),
        ("freeze_node", b'{"pid": 1}', Code.NOT_FOUND),
        ("thaw_node", b'{"pid": 1.5}', Code.WRONG_TYPE),
        ("work", b'{"milliseconds": -1}', Code.TOO_LARGE),
        ("work", b'{"milliseconds": 1e9}', Code.TOO_LARGE),
        ("work", b'{"milliseconds": "5"}', Code.WRONG_TYPE),
        ("kill_broker", b'{"kind": "rabbitmq"}', Code.NOT_FOUND),
        ("kill_broker", b'{"kind": "redis"}', Code.MALFORMED),
        ("kill_broker", b'{"kind": "\\ud800"}', Code.BAD_ENCODING),
        ("start_broker", b'{"kind": "redis\\udfff"}', Code.BAD_ENCODING),
        ("scale", b'{"application": "\\ud800", "count": 1}', Code.BAD_ENCODING),
        ("add_insult", b'{"insult": "\\ud800"}', Code.BAD_ENCODING),
        ("load", b'{"rate": "\\ud800"}', Code.WRONG_TYPE),
        ("%ed%a0%80", b"{}", Code.UNKNOWN_OPERATION),
        ("policy", b'{"policy": "hpa"}', Code.UNKNOWN_OPERATION),
        ("remove_node", b'{"pid": "1"}', Code.WRONG_TYPE),
        ("add_insult", b'{"insult": " "}', Code.MALFORMED),
        ("add_insult", b'{"insult": "\\u0007"}', Code.MALFORMED),
        ("send_text", b'{"text": "\\ud800"}', Code.BAD_ENCODING),
        ("send_text", b'{"text": "' + b"x" * (MAX_TEXT_BYTES + 1) + b'"}', Code.TOO_LARGE),
        ("__class__", b"{}", Code.UNKNOWN_OPERATION),
    ],
)
def test_rubbish_gets_a_code_and_a_sentence(page: Watching, action: str, body: bytes, code: Code) -> None:
    status, _, answer = page.ask("POST", f"/api/{action}", body)
    assert 400 <= status < 500
    refused = json.loads(answer)
    assert refused["code"] == code
    assert refused["message"]
    assert page.process.poll() is None


def test_what_is_no_json_is_refused(page: Watching) -> None:
    status, _, answer = page.ask("POST", "/api/load", LOAD, Content_Type="text/plain")
    assert (status, json.loads(answer)["code"]) == (400, Code.MALFORMED)


def test_five_hundred_nodes_are_refused_with_what_to_do_instead(page: Watching) -> None:
    refused = page.press("scale", application="filter", count=500)
    assert refused["status"] == 413
    assert f"from 0 to {MOST_NODES}" in refused["message"]
    assert "lab speedup" in refused["message"]
    assert len(page.nodes()) == 1


def test_nodes_are_added_removed_and_killed_ones_replaced(page: Watching) -> None:
    assert page.press("scale", application="filter", count=2)["status"] == 200
    pair = eventually(lambda: len(found := page.nodes()) == 2 and found)
    assert pair
    first, second = pair
    assert "left" in page.press("remove_node", pid=second)["said"]
    assert not psutil.pid_exists(second)
    eventually(lambda: page.nodes() == [first])
    page.press("kill_node", pid=first)
    found = eventually(lambda: (seen := page.nodes()) and seen != [first] and seen, 30.0)
    assert found
    assert len(found) == 1
    assert any("was killed by SIGKILL" in line for line in page.lines("fault"))
    eventually(lambda: any("serves again" in line for line in page.lines("node")))


def test_a_killed_node_that_is_scaled_away_is_not_replaced(page: Watching) -> None:
    page.press("scale", application="filter", count=2)
    eventually(lambda: len(page.nodes()) == 2)
    first, second = page.nodes()
    page.press("kill_node", pid=first)
    assert page.press("scale", application="filter", count=1)["said"] == "1 filter node serves."
    eventually(lambda: page.nodes() == [second])
    page.press("scale", application="filter", count=2)  # takes as long as the other would have
    eventually(lambda: len(page.nodes()) == 2)
    nodes = [one for one in page.running() if "redis_impl.insult_filter" in one.cmdline()]
    assert len(nodes) == 2
    assert page.press("scale", application="filter", count=1)["status"] == 200
    eventually(lambda: page.nodes() == [second])
    assert not any("before it left" in line for line in page.lines("fault"))


def test_a_frozen_node_answers_nothing_until_it_is_thawed(page: Watching) -> None:
    page.press("load", rate=20)
    (node,) = eventually(page.nodes)

    def row() -> dict[str, Any]:
        return dict(next(one for one in page.state()["rows"] if one.get("pid") == node))

    eventually(lambda: (row()["rate"] or 0) > 10)
    before = row()["served"]
    assert page.press("freeze_node", pid=node)["status"] == 200
    eventually(lambda: row()["state"] == "frozen" and row()["rate"] == 0)
    assert "remove_node" not in row()["buttons"]
    assert page.press("thaw_node", pid=node)["status"] == 200
    eventually(lambda: row()["state"] == "serving" and row()["served"] > before + 10, 20.0)


def test_the_work_time_changes_while_nodes_run(page: Watching) -> None:
    page.press("load", rate=5)
    page.press("work", milliseconds=150)
    eventually(lambda: (page.point()["p50"] or 0) >= 150, 20.0)
    assert "takes 0 ms" in page.press("work", milliseconds=-0.0)["said"]
    page.press("work", milliseconds=20)
    eventually(lambda: (page.point()["p50"] or 1000) < 120, 30.0)


def test_a_broker_that_was_here_before_is_not_ours_to_kill(page: Watching) -> None:
    (row,) = [row for row in page.state()["rows"] if "broker" in row["name"]]
    assert (row["state"], row["buttons"]) == ("not ours to kill", [])


def test_a_private_broker_is_killed_and_serves_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_REDIS_URL", raising=False)
    with watching("redis_impl:stock", "redis_impl", "--nodes", "1", redis_url="") as command:
        rows = eventually(lambda: command.state()["rows"])
        if not any(row.get("buttons") == ["kill_broker"] for row in rows):
            pytest.skip("a Redis runs on its usual port, so there is no private one")
        eventually(lambda: command.point().get("achieved"), 30.0)
        assert "was killed" in command.press("kill_broker", kind="redis")["said"]
        eventually(lambda: any("requests fail" in line for line in command.lines("fault")), 30.0)
        assert command.press("kill_broker", kind="redis")["code"] == "NOT_FOUND"
        assert "serves again" in command.press("start_broker", kind="redis")["said"]
        eventually(lambda: command.point()["achieved"] > 10, 30.0)
        command.press("kill_broker", kind="redis")
        eventually(lambda: "the store does not answer" in " ".join(command.lines("fault")), 30.0)
        started = command.running()
        assert command.end() == 130
        assert not still_running(started)
        assert "Traceback" not in command.err, command.err


def test_the_load_is_answered_and_its_response_times_are_known(page: Watching) -> None:
    page.press("load", rate=30)
    point = eventually(lambda: (p := page.point()).get("achieved", 0) > 15 and p["offered"] == 30 and p, 30.0)
    assert point["p99"] >= point["p50"] >= 20
    page.press("load", rate=0)
    eventually(lambda: page.point()["achieved"] == 0 and page.point()["backlog"] == 0, 20.0)


def test_without_nodes_a_backlog_grows_and_is_worked_off_by_the_next_one(page: Watching) -> None:
    page.press("scale", application="filter", count=0)
    page.press("load", rate=10)
    told = len(page.lines("node"))
    eventually(lambda: page.point()["failed"], 30.0)
    eventually(lambda: page.point()["backlog"] > 20 and page.point()["failed"] == 0, 30.0)
    assert not [line for line in page.lines("node")[told:] if "answered" in line]
    page.press("scale", application="filter", count=1)
    eventually(lambda: "requests are answered again" in page.lines("node")[told:], 30.0)
    eventually(lambda: page.point()["backlog"] < 5 and page.point()["achieved"] > 5, 30.0)
    page.press("load", rate=0)


def test_every_stream_gets_what_is_kept_and_then_what_is_new(page: Watching) -> None:
    page.press("start_broadcast")
    streams = [stream(page) for _ in range(2)]
    for events in streams:
        assert next(events)[0] == "hello"
        name, news = next(events)
        assert name == "news"
        assert news["rows"]
        ticks = 0
        while ticks < 3:
            _, more = next(events)
            assert [point["number"] for point in more["points"]] == [news["number"] + 1]
            ticks += sum(line["kind"] == "tick" for line in more["lines"])
            news = more
    page.press("stop_broadcast")


def stream(page: Watching) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events of a page's stream."""
    connection = http.client.HTTPConnection(page.host, timeout=30)
    cookie = f"lab-watch-{page.host.rpartition(':')[2]}={page.token}"
    connection.request("GET", "/events", headers={"Cookie": cookie})
    answer = connection.getresponse()
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    name = ""
    try:
        while line := answer.readline().decode().strip("\n") or name:
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))
                name = " "
    finally:
        connection.close()


def test_it_listens_on_loopback_only_and_shows_no_secret(page: Watching) -> None:
    process = psutil.Process(page.process.pid)
    assert {one.laddr.ip for one in process.net_connections("inet") if one.status == "LISTEN"} == {
        "127.0.0.1"
    }
    assert page.token not in " ".join(process.cmdline()) + page.err
    assert "token" not in json.dumps(page.state())


def test_a_thousand_silent_connections_shut_nobody_out(page: Watching) -> None:
    allow_files(MOST_FILES)
    address = (page.host.partition(":")[0], int(page.host.partition(":")[2]))
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(address)) for _ in range(1000)]
        for connection in silent[::2]:
            connection.sendall(b"GET / HT")
        assert page.ask("GET", "/")[0] == 200
        assert page.state()["rows"]


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT"])
def test_a_connection_that_asks_for_nothing_is_closed(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watch.command.SILENT_SECONDS", 0.2)
    asked = threading.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        await asyncio.sleep(1.0)  # one that waits for its answer asks for something
        await PlainTextResponse("done")(scope, receive, send)

    server = PageServer(uvicorn.Config(slow, lifespan="off", log_level="error", timeout_keep_alive=60))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        with socket.create_connection(listening.getsockname(), timeout=20.0) as connection:
            connection.sendall(said)
            received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        server.should_exit = True
        thread.join()
    assert (b"done" in received) == asked.is_set() == said.startswith(b"GET / HTTP/1.1")


def test_a_stranger_writes_nothing_into_the_terminal(page: Watching) -> None:
    before = page.err
    assert page.ask("GET", "/", Connection="Upgrade", Upgrade="websocket")[0] == 200
    assert page.ask("GET", "/", Host="a\0b")[0] in (400, 403)
    assert page.err == before


def test_ctrl_c_ends_processes_and_namespace_while_a_page_is_open(redis_url: str) -> None:
    with watching("redis_impl", "filter", "--nodes", "2", redis_url=redis_url) as command:
        eventually(lambda: command.point().get("achieved"))
        namespace = command.namespace
        assert has_keys(redis_url, namespace)
        started = command.running()
        events = stream(command)
        next(events)
        assert command.end() == 130
        assert not still_running(started)
        assert not has_keys(redis_url, namespace)
        assert "Traceback" not in command.err, command.err
