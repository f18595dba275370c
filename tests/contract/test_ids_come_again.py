"""An id that expired and comes again belongs to its new text, on every wire and in both architectures."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import pika
import Pyro4
import pytest
import redis

from lab.client.direct import CallConnection, DirectClient
from lab.contract import Application
from lab.errors import InvalidRequest, NotFound
from lab.middleware import Promise
from lab.operations import Operation
from lab.process.system import System
from tests.contract.conftest import Case
from tests.eventually import eventually
from xmlrpc.client import Fault, ServerProxy

ID_TTL_SECONDS = 2
ID = "comes-again"
Submit = Callable[[System, str], None]


def over_xmlrpc(system: System, text: str) -> None:
    with ServerProxy(system.nodes[0].address, headers=[("Idempotency-Key", ID)]) as node:
        node.submit(text)


def over_pyro4(system: System, text: str) -> None:
    with Pyro4.Proxy(system.nodes[0].address) as node:
        node._pyroBind()
        Pyro4.current_context.annotations = {"OPID": ID.encode()}
        node.submit(text)


def over_redis(system: System, text: str) -> None:
    with redis.Redis.from_url(system.target.address) as store:
        store.rpush(f"{system.namespace}:filter", json.dumps({"operation": "X1", "data": text, "id": ID}))


def over_rabbitmq(system: System, text: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(system.target.address))
    properties = pika.BasicProperties(message_id=ID, delivery_mode=2)
    connection.channel().basic_publish("", f"{system.namespace}.filter", text.encode(), properties)
    connection.close()


WIRES: dict[str, Submit] = {
    "xmlrpc": over_xmlrpc,
    "pyro4": over_pyro4,
    "redis_impl": over_redis,
    "rabbitmq": over_rabbitmq,
}


def dead_letter_of_redis(system: System) -> str:
    with redis.Redis.from_url(system.target.address, decode_responses=True) as store:
        return str(store.lindex(f"{system.namespace}:filter:dead", -1))


def dead_letter_of_rabbitmq(system: System) -> str:
    connection = pika.BlockingConnection(pika.URLParameters(system.target.address))
    body = connection.channel().basic_get(f"{system.namespace}.filter.dead")[2]
    connection.close()
    return str(body)


DEAD_LETTER = {"redis_impl": dead_letter_of_redis, "rabbitmq": dead_letter_of_rabbitmq}


def over_another_wire(system: System, text: str) -> None:
    """Speak to a node of contrib/ with a client of the lab, which takes an id."""
    with cast(DirectClient[CallConnection], system.filter()) as client:
        client.ask(lambda node, left: node.call(Operation.SUBMIT.value, [text], left, ID))


def result(client: Any) -> str:
    with suppress(NotFound):
        return str(client.result(ID, 5.0))
    return ""


@pytest.mark.needs(Promise.EFFECT_ONCE)
def test_an_id_that_expired_and_comes_again_gets_the_result_of_its_new_text(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_ID_TTL", str(ID_TTL_SECONDS))
    submit = WIRES.get(case.middleware.name, over_another_wire)
    system = case.start(Application.FILTER)
    with system.filter() as client:
        submit(system, "1 tonto")
        eventually(lambda: result(client) == "1 CENSORED")
        time.sleep(ID_TTL_SECONDS + 0.5)  # not before an assertion: the id expires
        submit(system, "2 tonto")
        eventually(lambda: result(client) == "2 CENSORED")
        assert [found.text for found in client.get_results() if found.petition_id == ID] == ["2 CENSORED"]


@pytest.mark.needs(Promise.EFFECT_ONCE)
def test_an_id_used_again_at_once_for_another_text_changes_nothing(case: Case) -> None:
    submit = WIRES.get(case.middleware.name, over_another_wire)
    system = case.start(Application.FILTER)
    with system.filter() as client:
        submit(system, "1 tonto")
        eventually(lambda: result(client) == "1 CENSORED")
        if case.middleware.is_direct:
            with pytest.raises((Fault, ValueError, InvalidRequest), match=r"MALFORMED|this id was used"):
                submit(system, "2 tonto")
        else:  # nobody waits for an answer
            submit(system, "2 tonto")
            eventually(lambda: "2 tonto" in DEAD_LETTER[case.middleware.name](system))
        assert result(client) == "1 CENSORED"


@pytest.mark.needs(Promise.EFFECT_ONCE)
def test_an_id_that_expired_while_its_text_waits_stays_with_it(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_ID_TTL", str(ID_TTL_SECONDS))
    submit = WIRES.get(case.middleware.name, over_another_wire)
    system = case.start(Application.FILTER, node_arguments=("--on-demand",))
    with system.filter() as client:
        submit(system, "1 tonto")
        time.sleep(ID_TTL_SECONDS + 0.5)  # not before an assertion: the id expires
        if case.middleware.is_direct:
            with pytest.raises((Fault, ValueError, InvalidRequest), match="not finished"):
                submit(system, "2 tonto")
        else:
            submit(system, "2 tonto")
        eventually(lambda: client.resolve() == "1 CENSORED")
        assert client.resolve() is None
        assert result(client) == "1 CENSORED"
        if not case.middleware.is_direct:
            eventually(lambda: "2 tonto" in DEAD_LETTER[case.middleware.name](system))
