"""The page over each middleware, and over dynamic scaling: what it shows is what happens."""

import psutil
import pytest

from lab.middlewares import MIDDLEWARES
from lab.store.namespace import throwaway_namespaces
from tests.eventually import eventually
from tests.watch.session import Watching, watching

INTERRUPTED = 130


def ends_without_a_trace(page: Watching, redis_url: str) -> None:
    """Press Ctrl-C, and look for what is left."""
    namespace = page.namespace
    children = psutil.Process(page.process.pid).children(recursive=True)
    assert page.end() == INTERRUPTED
    assert not [child for child in children if child.is_running()]
    assert namespace not in throwaway_namespaces(redis_url)
    assert "Traceback" not in page.err, page.err


@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_both_applications_are_shown_and_played_with(middleware: str, redis_url: str, amqp_url: str) -> None:
    options = (middleware, "--nodes", "1", "--interval", "200ms")
    with watching(*options, redis_url=redis_url, amqp_url=amqp_url) as page:
        eventually(lambda: page.point()["achieved"] > 5, 30.0)
        assert page.press("scale", application="filter", count=2)["said"] == "2 filter nodes serve."
        page.press("start_broadcast")
        eventually(lambda: len(page.lines("tick")) >= 2, 30.0)
        page.press("add_insult", insult="zopenco")
        eventually(lambda: page.press("send_text", text="a zopenco").get("text") == "a CENSORED")
        (pid, *_) = eventually(page.nodes)
        page.press("kill_node", pid=pid)
        eventually(lambda: any("serves again" in line for line in page.lines("node")), 30.0)
        eventually(lambda: page.point()["achieved"] > 5, 30.0)
        ends_without_a_trace(page, redis_url)


@pytest.mark.parametrize(
    ("application", "there", "missing"),
    [("service", "start_broadcast", "send_text"), ("filter", "send_text", "start_broadcast")],
)
def test_one_application_alone_has_its_own_buttons(
    application: str, there: str, missing: str, redis_url: str
) -> None:
    with watching("redis_impl", application, "--nodes", "1", redis_url=redis_url) as page:
        actions = page.state()["description"]["actions"]
        assert there in actions
        assert missing not in actions
        eventually(lambda: page.point()["achieved"] > 5, 30.0)
        assert page.press("add_insult", insult="zopenco")["status"] == 200


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
