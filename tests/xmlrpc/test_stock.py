"""The stock variant: the standard library as it comes, for curl, for bare proxies and for tuned nodes."""

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lab.contract import Application, Architecture
from lab.errors import Code, NoInsults
from lab.middleware import MIDDLEWARES
from tests.conftest import StartSystem
from xmlrpc.client import Fault, MultiCall, ServerProxy

STOCK = MIDDLEWARES["xmlrpc:stock"]
DEADLINE_SECONDS = 30.0
REQUEST = """<?xml version="1.0"?><methodCall><methodName>filter</methodName>
<params><param><value><string>quin tonto</string></value></param></params></methodCall>"""


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl_is_answered_and_its_connection_stays_open(start_system: StartSystem) -> None:
    url = start_system("xmlrpc:stock", Application.FILTER).target.address
    command = ["curl", "-sv", url, "-d", REQUEST, "--next", "-sv", url, "-d", REQUEST]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE_SECONDS)
    assert done.stdout.count("<string>quin CENSORED</string>") == 2
    assert "Re-using existing connection" in done.stderr


def test_a_bare_proxy_is_answered_as_the_page_on_protocols_says(start_system: StartSystem) -> None:
    url = start_system("xmlrpc:stock", Application.SERVICE).target.address
    node: Any
    with ServerProxy(url, allow_none=True) as node:
        assert [node.add_insult("tonto"), node.add_insult("tonto")] == [True, False]
        assert node.insult_me() == "tonto"
        assert node.get_insults("", 10) == ["tonto"]
        assert "add_insult" in node.system.listMethods()
        batch: Any = MultiCall(node)
        batch.insult_me()
        batch.remove_insult("tonto")
        assert [*batch()] == ["tonto", True]
        with pytest.raises(Fault, match=f"{Code.TOO_LARGE}: "):
            node.add_insult("x" * 201)
        with pytest.raises(Fault, match=f"{Code.NO_INSULTS}: "):
            node.insult_me()


@pytest.mark.parametrize("architecture", Architecture)
def test_a_stock_client_drives_tuned_nodes(start_system: StartSystem, architecture: Architecture) -> None:
    service = start_system("xmlrpc", Application.SERVICE, architecture, interval="100ms")
    with STOCK.service_client(service.target, DEADLINE_SECONDS) as client:
        with pytest.raises(NoInsults):
            client.insult_me()
        assert client.add_insult("tonto")
        with client.subscribe() as subscription:
            assert client.start_broadcast()
            tick = subscription.receive(DEADLINE_SECONDS)
            assert tick
            assert tick.insult == "tonto"
    filters = start_system("xmlrpc", Application.FILTER, architecture)
    with STOCK.filter_client(filters.target, DEADLINE_SECONDS) as client:
        assert client.filter("tonto") == "CENSORED"
        assert list(client.filter_many(["tonto", "friend"])) == ["CENSORED", "friend"]
        assert client.result(client.submit("tonto"), DEADLINE_SECONDS) == "CENSORED"


def test_a_client_that_threads_share_gives_each_its_own_answers(start_system: StartSystem) -> None:
    filters = start_system("xmlrpc:stock", Application.FILTER)
    texts = [f"tonto {number}" for number in range(100)]
    with filters.filter(DEADLINE_SECONDS) as client, ThreadPoolExecutor(4) as threads:
        assert list(threads.map(client.filter, texts)) == [f"CENSORED {number}" for number in range(100)]


@pytest.mark.parametrize("middleware", ["xmlrpc:stock", "pyro4:stock"])
@pytest.mark.parametrize("architecture", Architecture)
def test_a_node_is_reached_at_the_host_that_it_advertises(
    start_system: StartSystem, middleware: str, architecture: Architecture
) -> None:
    arguments = ("--advertise", "localhost")
    system = start_system(middleware, Application.FILTER, architecture, node_arguments=arguments)
    assert re.search(r"(//|@)localhost:", system.nodes[0].address)
    with system.filter() as client:
        assert client.filter("tonto") == "CENSORED"
