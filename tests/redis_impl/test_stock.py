"""The stock variant: redis-py as it comes. It answers bare clients and works with tuned nodes."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest

from lab.contract import Application, Architecture
from lab.middleware import MIDDLEWARES
from lab.process.system import System
from lab.store.redis_store import connect
from tests.conftest import StartSystem
from tests.eventually import eventually

DEADLINE_SECONDS = 30.0
STOCK, TUNED = MIDDLEWARES["redis_impl:stock"], MIDDLEWARES["redis_impl"]


@pytest.fixture
def store(redis_url: str) -> Iterator[Any]:
    with connect(redis_url) as client:
        yield client


def ask(store: Any, system: System, code: str, data: str | None = None, **more: object) -> Any:
    """Push a petition to the entry list as any program may; return its reply."""
    reply_to = f"{system.namespace}:reply:{uuid4().hex}"
    petition = {"operation": code, "data": data or reply_to, "reply_to": reply_to, "id": "bare", **more}
    store.rpush(f"{system.namespace}:{system.spec.application}", json.dumps(petition))
    taken = store.blpop([reply_to], timeout=4)
    assert taken
    reply = json.loads(taken[1])
    assert reply["id"] == "bare"
    return reply.get("answer", reply.get("error"))


@pytest.mark.parametrize("architecture", list(Architecture))
def test_a_bare_client_is_answered_as_the_page_on_protocols_says(
    start_system: StartSystem, store: Any, architecture: Architecture
) -> None:
    service = start_system("redis_impl:stock", Application.SERVICE, architecture)
    assert [ask(store, service, "X1", "tonto") for _ in range(2)] == [True, False]
    assert ask(store, service, "X3") == "tonto"
    assert ask(store, service, "X2", limit=1) == ["tonto"]
    assert [ask(store, service, code) for code in ("X4", "X4", "X5")] == [True, False, True]
    assert ask(store, service, "X6", "tonto") is True
    assert ask(store, service, "X9") == "UNKNOWN_OPERATION"
    filters = start_system("redis_impl:stock", Application.FILTER, architecture)
    assert ask(store, filters, "X1", "quin tonto") == "quin CENSORED"


@pytest.mark.parametrize("architecture", list(Architecture))
def test_a_stock_client_and_a_tuned_client_work_with_the_same_tuned_nodes(
    start_system: StartSystem, architecture: Architecture
) -> None:
    with ExitStack() as stack:
        service = start_system("redis_impl", Application.SERVICE, architecture, interval="100ms")
        client = stack.enter_context(STOCK.service_client(service.target))
        assert client.add_insult("tonto")
        subscription = stack.enter_context(client.subscribe())
        assert client.start_broadcast()
        tick = subscription.receive(DEADLINE_SECONDS)
        assert tick
        assert tick.insult == "tonto"
        filters = start_system("redis_impl", Application.FILTER, architecture)
        stock = stack.enter_context(STOCK.filter_client(filters.target))
        tuned = stack.enter_context(TUNED.filter_client(filters.target))
        assert stock.filter("quin tonto") == "quin CENSORED"
        assert tuned.result(stock.submit("quin tonto"), DEADLINE_SECONDS) == "quin CENSORED"


def test_petitions_go_to_the_nodes_in_turn_and_a_killed_node_is_left_out(
    start_system: StartSystem, store: Any
) -> None:
    filters = start_system("redis_impl:stock", Application.FILTER, Architecture.N_NODE, nodes=2)
    nodes = f"{filters.namespace}:filter:nodes"
    with filters.filter(DEADLINE_SECONDS) as client:
        texts = [f"{number} tonto" for number in range(50)]
        filtered = [text.replace("tonto", "CENSORED") for text in texts]
        assert list(client.filter_many(texts, in_flight=10)) == filtered
        filters.launcher.kill(filters.nodes[0])
        eventually(lambda: len(store.zrangebyscore(nodes, time.time(), "+inf")) == 1)
        assert list(client.filter_many(texts, in_flight=10)) == filtered


@pytest.mark.skipif(not shutil.which("redis-cli"), reason="redis-cli is not installed")
def test_redis_cli_pushes_a_text_and_reads_its_reply(start_system: StartSystem, redis_url: str) -> None:
    filters = start_system("redis_impl:stock", Application.FILTER)
    reply_to = f"{filters.namespace}:reply:me"
    petition = json.dumps({"operation": "X1", "data": "quin tonto", "reply_to": reply_to})
    url = redis_url.replace("redis://:", "redis://default:")  # it takes no password without a user
    for command in (["RPUSH", f"{filters.namespace}:filter", petition], ["BLPOP", reply_to, "10"]):
        done = subprocess.run(
            ["redis-cli", "-u", url, *command],
            capture_output=True,
            text=True,
            check=True,
            timeout=DEADLINE_SECONDS,
        )
    assert "quin CENSORED" in done.stdout
