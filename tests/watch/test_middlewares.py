"""The page over each middleware, and over dynamic scaling: what it shows is what happens."""

import pytest

from lab.middleware import MIDDLEWARES
from lab.store.namespace import throwaway_namespaces
from tests.eventually import eventually
from tests.watch.session import Watching, still_running, watching

INTERRUPTED = 130


def ends_without_a_trace(page: Watching, redis_url: str) -> None:
    """Press Ctrl-C, and look for what is left."""
    namespace = page.namespace
    started = page.running()
    assert page.end() == INTERRUPTED
    assert not still_running(started)
    assert namespace not in throwaway_namespaces(redis_url)
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
        assert page.press("kill_worker", pid=1)["code"] == "NOT_FOUND"
        assert page.press("kill_worker", pid=pid)["status"] == 200
        eventually(lambda: pid not in page.nodes("worker", "ready") and page.nodes("worker", "ready"), 20.0)
        page.press("load", rate=0)
        ends_without_a_trace(page, redis_url)
