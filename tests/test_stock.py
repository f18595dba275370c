"""The stock variants: each library as it comes. They answer bare clients, and work with what is tuned."""

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import Pyro4
import pytest
from pika import BlockingConnection, URLParameters
from pika.spec import BasicProperties

from harness.faults.proxy import Harm, Proxy
from lab.bootstrap import ROOT
from lab.contract import Application, Architecture, Target
from lab.errors import Code, NoInsults, Overloaded, Unavailable
from lab.middleware import MIDDLEWARES
from lab.process.system import System
from lab.settings import settings
from lab.store.namespace import throwaway_namespace
from lab.store.redis_store import connect
from tests.conftest import StartSystem
from tests.eventually import eventually
from xmlrpc.client import Fault, MultiCall, ServerProxy

DEADLINE_SECONDS = 60.0
XML = """<?xml version="1.0"?><methodCall><methodName>filter</methodName>
<params><param><value><string>quin tonto</string></value></param></params></methodCall>"""


@pytest.mark.parametrize("architecture", Architecture)
@pytest.mark.parametrize("name", MIDDLEWARES)
def test_a_stock_client_and_a_tuned_client_work_with_the_same_tuned_nodes(
    start_system: StartSystem, name: str, architecture: Architecture
) -> None:
    stock, tuned = MIDDLEWARES[f"{name}:stock"], MIDDLEWARES[name]
    with ExitStack() as stack:
        service = start_system(name, Application.SERVICE, architecture, interval="100ms")
        client = stack.enter_context(stock.service_client(service.target, DEADLINE_SECONDS))
        with pytest.raises(NoInsults):
            client.insult_me()
        assert client.add_insult("tonto")
        assert client.get_insults() == ["tonto"]
        subscription = stack.enter_context(client.subscribe())
        assert client.start_broadcast()
        tick = subscription.receive(DEADLINE_SECONDS)
        assert tick
        assert tick.insult == "tonto"
        filters = start_system(name, Application.FILTER, architecture)
        asking = stack.enter_context(stock.filter_client(filters.target, DEADLINE_SECONDS))
        reading = stack.enter_context(tuned.filter_client(filters.target, DEADLINE_SECONDS))
        assert asking.filter("quin tonto") == "quin CENSORED"
        assert list(asking.filter_many(["tonto", "friend"])) == ["CENSORED", "friend"]
        assert reading.result(asking.submit("quin tonto"), DEADLINE_SECONDS) == "quin CENSORED"


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("middleware", ["redis_impl:stock", "rabbitmq:stock"])
@pytest.mark.parametrize("first", ["subscription", "client", "broker"])
def test_a_subscription_ends_without_an_error_before_and_after_its_client_and_its_broker(
    start_system: StartSystem, middleware: str, first: str
) -> None:
    system = start_system(middleware, Application.SERVICE, interval="100ms")
    before = set(threading.enumerate())
    with Proxy(seed=1, harms={}) as proxy:
        client = system.middleware.service_client(behind(proxy, system.target), DEADLINE_SECONDS)
        subscription = client.subscribe()
        client.add_insult("tonto")
        client.start_broadcast()
        assert subscription.receive(DEADLINE_SECONDS)
        if first == "client":
            client.close()
        if first != "broker":
            subscription.close()
            client.close()
    subscription.close()
    client.close()
    eventually(lambda: set(threading.enumerate()) <= before, DEADLINE_SECONDS)


@pytest.mark.parametrize("middleware", ["xmlrpc:stock", "redis_impl:stock", "rabbitmq:stock"])
def test_a_client_whose_connection_breaks_raises_errors_of_the_lab_only(
    start_system: StartSystem, middleware: str
) -> None:
    system = start_system(middleware, Application.FILTER)
    answered, refused = 0, 0
    with Proxy(seed=1, harms={Harm.DROP: 0.1}) as proxy:
        proxy.is_armed = True
        target = behind(proxy, system.target)
        for _ in range(40):  # each step of opening and of calling loses its reply in some of them
            try:
                with system.middleware.filter_client(target, DEADLINE_SECONDS) as client:
                    answered += client.filter("tonto") == "CENSORED"
            except Unavailable:
                refused += 1
    assert answered
    assert refused


def behind(proxy: Proxy, target: Target) -> Target:
    """Return *target* as it is reached through *proxy*."""
    address = urlsplit(target.address)
    port = proxy.listen("127.0.0.1", 0, str(address.hostname), int(address.port or 0))
    return replace(target, address=target.address.replace(f":{address.port}", f":{port}"))


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


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6")
@pytest.mark.parametrize("middleware", ["xmlrpc:stock", "pyro4:stock"])
def test_a_node_is_reached_over_ipv6(start_system: StartSystem, middleware: str) -> None:
    system = start_system(middleware, Application.FILTER, node_arguments=("--host", "::1"))
    assert "[::1]:" in system.nodes[0].address
    with system.filter() as client:
        assert client.filter("tonto") == "CENSORED"


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl_is_answered_and_its_connection_stays_open(start_system: StartSystem) -> None:
    url = start_system("xmlrpc:stock", Application.FILTER).target.address
    command = ["curl", "-sv", url, "-d", XML, "--next", "-sv", url, "-d", XML]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE_SECONDS)
    assert done.stdout.count("<string>quin CENSORED</string>") == 2
    assert "Re-using existing connection" in done.stderr


def test_a_bare_xmlrpc_proxy_is_answered_as_the_page_on_protocols_says(start_system: StartSystem) -> None:
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


def test_a_bare_pyro4_proxy_is_answered_as_the_page_on_protocols_says(start_system: StartSystem) -> None:
    names = start_system("pyro4:stock", Application.SERVICE).target.address
    with Pyro4.Proxy(f"PYRONAME:insult.service@{names}") as node:
        assert [node.add_insult("tonto"), node.add_insult("tonto")] == [True, False]
        assert node.insult_me() == "tonto"
        assert node.get_insults(limit=10) == ["tonto"]
        with pytest.raises(ValueError, match=f"{Code.TOO_LARGE}: "):
            node.add_insult("x" * 201)
        assert [node.start_broadcast(), node.start_broadcast(), node.stop_broadcast()] == [True, False, True]
        assert node.remove_insult("tonto") is True
        with pytest.raises(ValueError, match=f"{Code.NO_INSULTS}: "):
            node.insult_me()


def test_the_pyro4_master_of_n_nodes_gives_a_bare_proxy_a_node(start_system: StartSystem) -> None:
    running = start_system("pyro4:stock", Application.FILTER, Architecture.N_NODE, nodes=2)
    with Pyro4.Proxy(f"PYRONAME:master.service@{running.target.address}") as master:
        assert {master.get_resolver_filter() for _ in range(4)} == {node.address for node in running.nodes}
        with Pyro4.Proxy(master.get_resolver_filter()) as node:
            assert node.filter("tonto, friend") == "CENSORED, friend"


def test_a_tuned_pyro4_client_that_writes_serpent_drives_a_stock_node(
    start_system: StartSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start_system("pyro4:stock", Application.SERVICE)
    monkeypatch.setenv("LAB_PYRO_SERIALIZER", "serpent")
    settings.cache_clear()
    with MIDDLEWARES["pyro4"].service_client(running.target) as client:
        with pytest.raises(NoInsults):
            client.insult_me()
        assert client.add_insult("tonto")
        assert client.insult_me() == "tonto"
    settings.cache_clear()


def test_a_tuned_pyro4_client_leaves_the_settings_of_the_library_alone() -> None:
    program = """if True:
        import Pyro4
        from Pyro4 import message, util
        def state():
            changed = message.Message.from_header.__func__, util.SerializerBase.deserializeCall
            return Pyro4.config.asDict(), changed
        before = state()
        from lab.contract import Architecture, Target
        from pyro4.insult_service import InsultServiceClient
        InsultServiceClient(Target("127.0.0.1:1", Architecture.ONE_NODE, "lab-00000000")).close()
        assert state() == before
    """
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=DEADLINE_SECONDS)


@pytest.fixture
def store(redis_url: str) -> Iterator[Any]:
    with connect(redis_url) as client:
        yield client


def push(store: Any, system: System, code: str, data: str | None = None, **more: object) -> Any:
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
def test_a_bare_redis_client_is_answered_as_the_page_on_protocols_says(
    start_system: StartSystem, store: Any, architecture: Architecture
) -> None:
    service = start_system("redis_impl:stock", Application.SERVICE, architecture)
    assert [push(store, service, "X1", "tonto") for _ in range(2)] == [True, False]
    assert push(store, service, "X3") == "tonto"
    assert push(store, service, "X2", limit=1) == ["tonto"]
    assert [push(store, service, code) for code in ("X4", "X4", "X5")] == [True, False, True]
    assert push(store, service, "X6", "tonto") is True
    assert push(store, service, "X9") == "UNKNOWN_OPERATION"
    filters = start_system("redis_impl:stock", Application.FILTER, architecture)
    assert push(store, filters, "X1", "quin tonto") == "quin CENSORED"


def test_petitions_go_to_the_nodes_of_redis_in_turn_and_a_killed_node_is_left_out(
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
        store.zadd(nodes, {"dead": time.time() + 3600})  # of before the clock was set back
        assert list(client.filter_many(texts, in_flight=10)) == filtered


@pytest.mark.skipif(not shutil.which("redis-cli"), reason="redis-cli is not installed")
def test_redis_cli_pushes_a_text_and_reads_its_reply(start_system: StartSystem, redis_url: str) -> None:
    filters = start_system("redis_impl:stock", Application.FILTER)
    reply_to = f"{filters.namespace}:reply:me"
    petition = json.dumps({"operation": "X1", "data": "quin tonto", "reply_to": reply_to})
    url = redis_url.replace("redis://:", "redis://default:")  # it takes no password without a user
    for words in (["RPUSH", f"{filters.namespace}:filter", petition], ["BLPOP", reply_to, "10"]):
        command = ["redis-cli", "-u", url, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE_SECONDS)
    assert "quin CENSORED" in done.stdout


def publish(url: str, queue: str, code: str, body: str = "") -> object:
    """Publish an event as any program may; return its reply."""
    with BlockingConnection(URLParameters(url)) as connection:
        channel = connection.channel()
        replies = channel.queue_declare("", exclusive=True).method.queue
        properties = BasicProperties(type=code or None, reply_to=replies, correlation_id="bare")
        channel.basic_publish("", queue, body.encode(), properties)
        _, answered, reply = next(
            channel.consume(replies, auto_ack=True, inactivity_timeout=DEADLINE_SECONDS)
        )
    assert answered.correlation_id == "bare"
    return json.loads(reply) if answered.content_type == "application/json" else reply.decode()


@pytest.mark.parametrize("architecture", list(Architecture))
def test_a_bare_rabbitmq_client_is_answered_as_the_page_on_protocols_says(
    start_system: StartSystem, amqp_url: str, architecture: Architecture
) -> None:
    service = start_system("rabbitmq:stock", Application.SERVICE, architecture)
    queue = f"{service.namespace}.service"
    assert [publish(amqp_url, queue, "", "tonto") for _ in range(2)] == [True, False]
    assert publish(amqp_url, queue, "X1") == "tonto"
    assert publish(amqp_url, queue, "X4", '{"limit": 1}') == ["tonto"]
    assert [publish(amqp_url, queue, code) for code in ("X2", "X2", "X3")] == [True, False, True]
    assert publish(amqp_url, queue, "X5", "tonto") is True
    refused = publish(amqp_url, queue, "X9")
    assert isinstance(refused, dict)
    assert refused["code"] == "UNKNOWN_OPERATION"
    filters = start_system("rabbitmq:stock", Application.FILTER, architecture)
    assert publish(amqp_url, f"{filters.namespace}.filter", "", "quin tonto") == "quin CENSORED"


def test_a_text_that_no_queue_takes_is_an_error_and_not_an_id(amqp_url: str) -> None:
    namespace = throwaway_namespace()
    target = Target(amqp_url, Architecture.N_NODE, namespace)
    with (
        MIDDLEWARES["rabbitmq:stock"].filter_client(target) as client,
        BlockingConnection(URLParameters(amqp_url)) as connection,
    ):
        channel = connection.channel()
        with pytest.raises(Unavailable):
            client.submit("tonto")
        full = {"x-max-length": 0, "x-overflow": "reject-publish"}
        channel.queue_declare(f"{namespace}.filter", durable=True, arguments=full)
        with pytest.raises(Overloaded):
            client.submit("tonto")
        channel.queue_delete(f"{namespace}.filter")


@pytest.mark.skipif(not shutil.which("amqp-publish"), reason="amqp-publish is not installed")
def test_a_text_from_amqp_publish_becomes_a_result(start_system: StartSystem, amqp_url: str) -> None:
    filters = start_system("rabbitmq:stock", Application.FILTER)
    command = ["amqp-publish", f"--url={amqp_url}", "-r", f"{filters.namespace}.filter", "-b", "quin tonto"]
    subprocess.run(command, check=True, timeout=DEADLINE_SECONDS)
    with filters.filter(DEADLINE_SECONDS) as client:
        results = eventually(client.get_results, within=DEADLINE_SECONDS)
    assert [result.text for result in results] == ["quin CENSORED"]
