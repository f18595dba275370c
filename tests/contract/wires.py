"""Foreign clients: requests sent with an id of the sender's choice, over the library of each wire alone."""

import json
import secrets
from collections.abc import Callable
from typing import Any, cast

import pika
import Pyro4
import redis

from lab.client.direct import CallConnection, DirectClient
from lab.operations import Operation
from lab.process.system import System
from xmlrpc.client import MultiCall, ServerProxy

INSULTS = [f"tonto {number}" for number in range(3)]
REDIS_CODES = {"add_insult": "X1", "remove_insult": "X6"}
AMQP_CODES = {"add_insult": None, "remove_insult": "X5"}
ANSWER_SECONDS = 10.0
SendTogether = Callable[[System, str, str], list[object]]
Submit = Callable[[System, str, str], None]


def together_over_xmlrpc(system: System, key: str, method: str) -> list[object]:
    with ServerProxy(system.nodes[0].address, headers=[("Idempotency-Key", key)]) as node:
        calls = MultiCall(node)
        for insult in INSULTS:
            getattr(calls, method)(insult)
        answers: Any = calls()
        return list(answers)


def together_over_pyro4(system: System, key: str, method: str) -> list[object]:
    with Pyro4.Proxy(system.nodes[0].address) as node:
        node._pyroBind()
        calls = Pyro4.batch(node)
        for insult in INSULTS:
            getattr(calls, method)(insult)
        Pyro4.current_context.annotations = {"OPID": key.encode()}
        return list(calls())


def together_over_redis(system: System, key: str, method: str) -> list[object]:
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


def together_over_rabbitmq(system: System, key: str, method: str) -> list[object]:
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


TOGETHER: dict[str, SendTogether] = {
    "xmlrpc": together_over_xmlrpc,
    "pyro4": together_over_pyro4,
    "redis_impl": together_over_redis,
    "rabbitmq": together_over_rabbitmq,
}
"""Send three calls of an operation together, under the ids KEY/0 to KEY/2; return the answers."""


def submit_over_xmlrpc(system: System, petition_id: str, text: str) -> None:
    with ServerProxy(system.nodes[0].address, headers=[("Idempotency-Key", petition_id)]) as node:
        node.submit(text)


def submit_over_pyro4(system: System, petition_id: str, text: str) -> None:
    with Pyro4.Proxy(system.nodes[0].address) as node:
        node._pyroBind()
        Pyro4.current_context.annotations = {"OPID": petition_id.encode()}
        node.submit(text)


def submit_over_redis(system: System, petition_id: str, text: str) -> None:
    with redis.Redis.from_url(system.target.address) as store:
        store.rpush(
            f"{system.namespace}:filter", json.dumps({"operation": "X1", "data": text, "id": petition_id})
        )


def submit_over_rabbitmq(system: System, petition_id: str, text: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(system.target.address))
    properties = pika.BasicProperties(message_id=petition_id, delivery_mode=2)
    connection.channel().basic_publish("", f"{system.namespace}.filter", text.encode(), properties)
    connection.close()


def submit_over_another_wire(system: System, petition_id: str, text: str) -> None:
    """Speak to a node of contrib/ with a client of the lab, which takes an id."""
    with cast(DirectClient[CallConnection], system.filter()) as client:
        client.ask(lambda node, left: node.call(Operation.SUBMIT.value, [text], left, petition_id))


SUBMIT: dict[str, Submit] = {
    "xmlrpc": submit_over_xmlrpc,
    "pyro4": submit_over_pyro4,
    "redis_impl": submit_over_redis,
    "rabbitmq": submit_over_rabbitmq,
}


def submit(system: System, petition_id: str, text: str) -> None:
    """Submit *text* under *petition_id*; over a broker nobody waits for an answer."""
    SUBMIT.get(system.middleware.name, submit_over_another_wire)(system, petition_id, text)


def dead_letter(system: System) -> str:
    """Return what a broker put aside first; empty: nothing yet."""
    if system.middleware.broker == "redis":
        with redis.Redis.from_url(system.target.address, decode_responses=True) as store:
            return str(store.lindex(f"{system.namespace}:filter:dead", -1))
    connection = pika.BlockingConnection(pika.URLParameters(system.target.address))
    body = connection.channel().basic_get(f"{system.namespace}.filter.dead")[2]
    connection.close()
    return str(body)
