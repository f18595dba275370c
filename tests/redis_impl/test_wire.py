"""Whatever is pushed to a Redis node's list gets a reply with its code, and the node goes on serving."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any, ClassVar
from uuid import uuid4

import pytest
import redis

from harness.faults.kinds import INSULT
from harness.faults.kinds.redis_impl import KINDS, REPLY_TO, UNANSWERABLE, adding, petition
from lab.contract import Application
from lab.errors import Code
from lab.process.system import System
from tests.eventually import eventually
from tests.wire import ANSWER_SECONDS, BadInput, NodeFailure, Wire, assert_same_process, each, one_node

node = one_node("redis_impl")
filters = one_node("redis_impl", Application.FILTER)
deferring = one_node("redis_impl", Application.FILTER, node_arguments=("--on-demand",))


@pytest.fixture
def store(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def push(store: "redis.Redis", system: System, raw: bytes) -> str:
    """Push a petition; return the name of the list for its reply."""
    reply_to = f"{system.namespace}:reply:{uuid4().hex}"
    store.rpush(f"{system.namespace}:{system.spec.application}", raw.replace(REPLY_TO, reply_to.encode()))
    return reply_to


def ask(store: "redis.Redis", system: System, raw: bytes) -> dict[str, Any]:
    """Push a petition and return the reply."""
    reply = store.blpop([push(store, system, raw)], timeout=ANSWER_SECONDS)
    assert reply, f"no reply to {raw[:200]!r}; {system.launcher.logs(system.nodes[0])[-2000:]}"
    return dict(json.loads(reply[1]))


def refusal(reply: dict[str, Any]) -> str:
    return f"{reply['error']}: {reply['message']}"


class RedisWire(Wire):
    """The entry list: the node that works on it in order has got past whatever came before."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.store = redis.Redis.from_url(system.target.address)

    def refusal(self, *sent: Any) -> str:
        return refusal(ask(self.store, self.system, *sent))

    def result_refusal(self, petition_id: str) -> str:
        return self.refusal(petition("X3", petition_id=petition_id))

    def serve(self) -> None:
        if self.system.spec.application is Application.SERVICE:
            assert ask(self.store, self.system, adding(INSULT))["answer"] in (True, False)
        else:
            assert ask(self.store, self.system, adding(f"quin {INSULT}"))["answer"] == "quin CENSORED"

    def close(self) -> None:
        self.store.close()


class TestPetitions(BadInput):
    wire = RedisWire
    kinds = KINDS


class TestTexts(BadInput):
    wire = RedisWire
    node = "filters"
    kinds: ClassVar = {
        "a text too long": (adding("x" * (64 * 1024 + 1)), Code.TOO_LARGE),
        "a number": (adding(7), Code.WRONG_TYPE),
        "a lone surrogate": (adding("\udfff"), Code.BAD_ENCODING),
    }


class TestFailure(NodeFailure):
    wire = RedisWire
    node = "filters"


def assert_serves(system: System) -> None:
    with closing(RedisWire(system)) as wire:
        wire.assert_serves()


@pytest.mark.parametrize(("raw", "code"), each(UNANSWERABLE))
def test_a_bad_petition_that_cannot_be_answered_is_logged_and_the_node_goes_on(
    node: System, store: "redis.Redis", raw: bytes, code: Code
) -> None:
    before = len(node.launcher.logs(node.nodes[0]))
    push(store, node, raw)
    assert_serves(node)
    line = eventually(lambda: node.launcher.logs(node.nodes[0])[before:])
    _, _, logged = line.partition("place to reply to: ")
    assert logged.startswith(f"{code}: ")
    assert "Traceback" not in line


def test_a_reply_carries_the_id_of_its_bad_petition(node: System, store: "redis.Redis") -> None:
    assert ask(store, node, adding("", id="mine"))["id"] == "mine"
    assert ask(store, node, petition("X3", id="mine")[:-1])["id"] == "mine"


def test_a_reply_list_that_is_no_list_harms_nobody(node: System, store: "redis.Redis") -> None:
    key = f"{node.namespace}:reply:{uuid4().hex}"
    store.set(key, "a string")
    push(store, node, petition("X3", key))
    assert_serves(node)


def test_nothing_of_a_bad_petition_is_left_behind_at_its_node(node: System, store: "redis.Redis") -> None:
    for raw, _ in (*KINDS.values(), *UNANSWERABLE.values()):
        push(store, node, raw)
        assert_serves(node)
    eventually(lambda: not list(store.scan_iter(f"{node.namespace}:*:processing")))


def test_many_bad_petitions_at_once_harm_no_good_one(node: System, store: "redis.Redis") -> None:
    replies = [push(store, node, raw) for raw, _ in KINDS.values() for _ in range(3)]
    assert_serves(node)
    assert all(store.llen(reply_to) == 1 for reply_to in replies)


@pytest.mark.parametrize(
    "raw",
    each(
        {
            "a text that is not UTF-8": (petition("X1", "tonto").replace(b"tonto", b"\xff"),),
            "an object as an id": (petition("X1", "tonto", id={}),),
            "an id with a space": (petition("X1", "tonto", id="one two"),),
            "a lone surrogate": (petition("X1", "\ud800"),),
            "a text too long": (petition("X1", "x" * (64 * 1024 + 1)),),
            "a number as a text": (petition("X1", 7),),
        }
    ),
)
def test_on_demand_a_bad_text_does_not_wait_among_the_good(
    deferring: System, store: "redis.Redis", raw: bytes
) -> None:
    push(store, deferring, raw)
    push(store, deferring, petition("X1", f"quin {INSULT}"))
    assert ask(store, deferring, petition("X2"))["answer"] == "quin CENSORED"
    assert ask(store, deferring, petition("X2"))["answer"] is None
    assert_same_process(deferring)
