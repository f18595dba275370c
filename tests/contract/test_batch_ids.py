"""Two calls that are sent together are never one: on every wire each has an operation id of its own."""

import json
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

import pika
import Pyro4
import pytest
import redis

from lab.contract import Application, Architecture
from lab.process.system import System
from tests.conftest import StartSystem
from xmlrpc.client import MultiCall, ServerProxy

INSULTS = [f"tonto {number}" for number in range(3)]
REDIS_CODES = {"add_insult": "X1", "remove_insult": "X6"}
AMQP_CODES = {"add_insult": None, "remove_insult": "X5"}
ANSWER_SECONDS = 10.0
Send = Callable[[System, str, str], list[object]]


def over_xmlrpc(system: System, key: str, method: str) -> list[object]:
    with ServerProxy(system.nodes[0].address, headers=[("Idempotency-Key", key)]) as node:
        calls = MultiCall(node)
        for insult in INSULTS:
            getattr(calls, method)(insult)
        answers: Any = calls()
        return list(answers)


def over_pyro4(system: System, key: str, method: str) -> list[object]:
    with Pyro4.Proxy(system.nodes[0].address) as node:
        node._pyroBind()
        calls = Pyro4.batch(node)
        for insult in INSULTS:
            getattr(calls, method)(insult)
        Pyro4.current_context.annotations = {"OPID": key.encode()}
        return list(calls())


def over_redis(system: System, key: str, method: str) -> list[object]:
    """Push all petitions in one pipeline, each with an id that the sender chose."""
    replies = f"{system.namespace}:reply:{secrets.token_hex(4)}"
    with redis.Redis.from_url(system.target.address) as store, store.pipeline() as pipeline:
        for index, insult in enumerate(INSULTS):
            petition = {"operation": REDIS_CODES[method], "data": insult, "id": f"{key}/{index}"}
            pipeline.rpush(f"{system.namespace}:service", json.dumps({**petition, "reply_to": replies}))
        pipeline.execute()
        answers = {}
        for _ in INSULTS:
            _, reply = store.blpop([replies], ANSWER_SECONDS)
            answers[json.loads(reply)["id"]] = json.loads(reply)["answer"]
    return [answers[f"{key}/{index}"] for index in range(len(INSULTS))]


def over_rabbitmq(system: System, key: str, method: str) -> list[object]:
    """Publish all events at once, each with an id that the sender chose."""
    connection = pika.BlockingConnection(pika.URLParameters(system.target.address))
    channel = connection.channel()
    replies = channel.queue_declare("", exclusive=True).method.queue
    for index, insult in enumerate(INSULTS):
        its = pika.BasicProperties(
            type=AMQP_CODES[method],
            message_id=f"{key}/{index}",
            correlation_id=str(index),
            reply_to=replies,
        )
        channel.basic_publish("", f"{system.namespace}.service", insult.encode(), its)
    answers: dict[int, object] = {}
    for _, its, body in channel.consume(replies, auto_ack=True, inactivity_timeout=ANSWER_SECONDS):
        answers[int(its.correlation_id)] = json.loads(body)
        if len(answers) == len(INSULTS):
            break
    connection.close()
    return [answers[index] for index in range(len(INSULTS))]


WIRES: dict[str, Send] = {
    "xmlrpc": over_xmlrpc,
    "pyro4": over_pyro4,
    "redis_impl": over_redis,
    "rabbitmq": over_rabbitmq,
}


@pytest.mark.parametrize("architecture", Architecture)
@pytest.mark.parametrize("middleware", WIRES)
def test_of_calls_sent_together_each_has_its_effect_once_however_often_they_are_repeated(
    system: StartSystem, middleware: str, architecture: Architecture
) -> None:
    running = system(middleware, Application.SERVICE, architecture)
    send = partial(WIRES[middleware], running, "key")
    with running.service() as client:
        for _ in range(2):
            assert send("add_insult") == [True] * len(INSULTS)
            assert client.get_insults() == INSULTS
        for _ in range(2):  # under the same ids: they count for one operation
            assert send("remove_insult") == [True] * len(INSULTS)
            assert client.get_insults() == []
