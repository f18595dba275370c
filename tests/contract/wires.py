"""Foreign clients: requests sent with an id of the sender's choice, over the library of each wire alone.

And bad arguments of our own clients, with the code and the sentence that every wire gives before anything
is sent.
"""

import json
import math
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import pika
import Pyro4
import redis

from lab.client.direct import DirectClient
from lab.errors import Code, LabError
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
            type=AMQP_CODES[method], message_id=f"{key}/{index}", correlation_id=str(index), reply_to=replies
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
    with cast(DirectClient, system.filter()) as client:
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


LONG_ID = "x" * 129
SURROGATE = "x\udcff"
Bad = tuple[object, Code, str]

NO_TEXT: list[Bad] = [
    (None, Code.WRONG_TYPE, "{} must be text, got NoneType"),
    (b"fool", Code.WRONG_TYPE, "{} must be text, got bytes"),
    (bytearray(b"fool"), Code.WRONG_TYPE, "{} must be text, got bytearray"),
    (7, Code.WRONG_TYPE, "{} must be text, got int"),
    (True, Code.WRONG_TYPE, "{} must be text, got bool"),
    (math.nan, Code.WRONG_TYPE, "{} must be text, got float"),
    (["fool"], Code.WRONG_TYPE, "{} must be text, got list"),
    (SURROGATE, Code.BAD_ENCODING, "{} holds a lone surrogate, which is not text"),
    ("\ud83d", Code.BAD_ENCODING, "{} holds a lone surrogate, which is not text"),
]
NO_INSULT: list[Bad] = [
    *NO_TEXT,
    ("", Code.MALFORMED, "the insult is empty; give 1-200 characters"),
    ("\u2003", Code.MALFORMED, "the insult is empty; give 1-200 characters"),
    ("a\x00b", Code.MALFORMED, "the insult holds a control character or line break; remove it"),
    ("x" * 201, Code.TOO_LARGE, "the insult has 201 characters; at most 200 are kept"),
    ("x" * 10**6, Code.TOO_LARGE, "the insult has 1000000 characters; at most 200 are kept"),
]
NO_FILTER_TEXT: list[Bad] = [
    *NO_TEXT,
    ("x" * 65537, Code.TOO_LARGE, "the text is longer than 65536 bytes of UTF-8; send it in parts"),
    ("é" * 32769, Code.TOO_LARGE, "the text is longer than 65536 bytes of UTF-8; send it in parts"),
]
NO_AFTER: list[Bad] = [*NO_TEXT, ("x" * 201, Code.TOO_LARGE, "after is longer than any insult (200)")]
NO_ID: list[Bad] = [
    *NO_TEXT,
    *(
        (value, Code.MALFORMED, "an id is 1-128 printable ASCII characters without spaces")
        for value in ("", " ", "a b", "a\x00", "é", "a\n")
    ),
    (LONG_ID, Code.TOO_LARGE, "the id is longer than 128 characters"),
]
NO_COUNT: list[Bad] = [
    *(
        (value, Code.WRONG_TYPE, f"{{}} must be a whole number, got {type(value).__name__}")
        for value in (None, True, 1.0, math.nan, math.inf, "10", b"10", [10])
    ),
    *((value, Code.TOO_LARGE, "{} must be from 1 to 1000") for value in (0, -1, 1001, 2**40, -(2**70))),
]
NO_SECONDS: list[Bad] = [
    *(
        (value, Code.WRONG_TYPE, f"{{}} must be a number of seconds, got {type(value).__name__}")
        for value in (None, True, "1", b"1", [1])
    ),
    (math.nan, Code.MALFORMED, "{} must be a finite number of seconds, got nan"),
    (math.inf, Code.MALFORMED, "{} must be a finite number of seconds, got inf"),
    (-math.inf, Code.MALFORMED, "{} must be a finite number of seconds, got -inf"),
]
NO_TIMEOUT: list[Bad] = [
    *NO_SECONDS,
    *(
        (value, Code.TOO_LARGE, "{} must be from 0 to 86400 seconds")
        for value in (-1, -1e-9, 86_400.1, 10**400)
    ),
]
NO_DEADLINE: list[Bad] = [
    *NO_SECONDS,
    *(
        (value, Code.TOO_LARGE, "{} must be above 0 and at most 86400 seconds")
        for value in (0, -1, 0.0, 1e9, 10**400)
    ),
]
NO_LIST: list[Bad] = [
    (value, Code.WRONG_TYPE, f"texts must be a list or a stream of texts, got {type(value).__name__}")
    for value in (None, "fool", b"fool", 7)
]

Call = Callable[[Any, Any], object]
SERVICE_CALLS: dict[str, tuple[Call, str, list[Bad]]] = {
    "add_insult": (lambda client, bad: client.add_insult(bad), "insult", NO_INSULT),
    "remove_insult": (lambda client, bad: client.remove_insult(bad), "insult", NO_INSULT),
    "get_insults after": (lambda client, bad: client.get_insults(bad), "after", NO_AFTER),
    "get_insults limit": (lambda client, bad: client.get_insults("", bad), "limit", NO_COUNT),
}
FILTER_CALLS: dict[str, tuple[Call, str, list[Bad]]] = {
    "filter": (lambda client, bad: client.filter(bad), "text", NO_FILTER_TEXT),
    "submit": (lambda client, bad: client.submit(bad), "text", NO_FILTER_TEXT),
    "result id": (lambda client, bad: client.result(bad, 0.1), "id", NO_ID),
    "result timeout": (lambda client, bad: client.result("nope", bad), "timeout", NO_TIMEOUT),
    "get_results": (lambda client, bad: client.get_results(bad), "limit", NO_COUNT),
    "filter_many texts": (lambda client, bad: list(client.filter_many(bad)), "texts", NO_LIST),
    "filter_many text": (lambda client, bad: list(client.filter_many(["a", bad])), "text", NO_FILTER_TEXT),
    "filter_many in_flight": (lambda client, bad: client.filter_many(["a"], bad), "in_flight", NO_COUNT),
}
SUBSCRIPTION_CALLS: dict[str, tuple[Call, str, list[Bad]]] = {
    "receive": (lambda subscription, bad: subscription.receive(bad), "timeout", NO_TIMEOUT)
}


def wrong_answers(
    client: object, calls: Mapping[str, tuple[Callable[..., object], str, list[Bad]]]
) -> Iterator[str]:
    """Make every call with every bad argument; say which one got another answer than the table has."""
    for name, (call, argument, cases) in calls.items():
        for bad, code, sentence in cases:
            expected = f"{code}: {sentence.format(argument)}"
            try:
                got = f"the answer {call(client, bad)!r}"
            except LabError as error:
                got = f"{error.code}: {error.message}"
            if got != expected:
                yield f"{name} with {repr(bad)[:40]}: {got[:200]}, not {expected}"
