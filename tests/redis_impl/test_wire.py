"""What a foreign client pushes to Redis, and the parsers that read it."""

import json
import resource
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any, ClassVar
from uuid import uuid4

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.faults.kinds.redis_impl import INSULT, KINDS, REPLY_TO, UNANSWERABLE, adding, petition
from lab.contract import Application
from lab.errors import Code, InvalidRequest, LabError
from lab.process.system import System
from redis_impl.tuned.wire import Keys, read_petition, read_reply, reply_to_of
from tests.eventually import eventually
from tests.wire import ANSWER_SECONDS, JSON, BadInput, NodeFailure, Wire, assert_same_process, each, one_node

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


KEYS = Keys("lab-00000000", Application.FILTER)
MEBIBYTE = 1024 * 1024
START = '{"operation": "X3", "data": null, "x": '
BOMBS = {
    "nested arrays": START + "[" * (MEBIBYTE - 100),
    "nested objects": START + '{"a":' * (MEBIBYTE // 5 - 100),
    "tiny arrays": f"{START}[{'[],' * (MEBIBYTE // 3 - 100)}[]]}}",
    "tiny numbers": f"{START}[{'1,' * (MEBIBYTE // 2 - 100)}1]}}",
    "tiny strings": START + '["",' + '"",' * (MEBIBYTE // 3 - 100),
    "tiny fields": "{" + ",".join(f'"{number}":1' for number in range(100_000)) + "}",
    "a long number": START + "9" * (MEBIBYTE - 100) + "}",
    "a long fraction": START + "0." + "9" * (MEBIBYTE - 100) + "}",
    "many long numbers": START + "[" + ("9" * 4000 + ",") * 260 + "1]}",
    "blanks": START + " " * (MEBIBYTE - 100) + "1}",
    "quotes": '"' * MEBIBYTE,
    "escaped quotes": '"' + '\\"' * (MEBIBYTE // 2 - 10),
    "backslashes": '{"operation": "' + "\\" * (MEBIBYTE - 100),
    "places to reply": '"data":"x"' * (MEBIBYTE // 10),
    "places to reply that are none": '"data": ' * (MEBIBYTE // 8),
    "a mebibyte too long": "[" * (2 * MEBIBYTE),
}
fields = st.fixed_dictionaries(
    {},
    optional={
        "operation": st.sampled_from(["X1", "X2", "X3", "X4", "X6"]) | JSON,
        "data": st.just(f"{KEYS.replies}x") | JSON,
        "id": st.just("id") | JSON,
        "reply_to": st.just(f"{KEYS.replies}x") | JSON,
        "limit": JSON,
        "petition_id": JSON,
        "error": st.sampled_from([*Code]) | JSON,
        "message": JSON,
        "answer": JSON,
    },
)


def read(raw: str) -> None:
    """Read *raw* as a node and as a client do; any other exception than a LabError passes."""
    with suppress(InvalidRequest):
        read_petition(raw, Application.FILTER, KEYS)
    reply_to, _ = reply_to_of(raw, KEYS)
    assert not reply_to or reply_to.startswith(KEYS.replies)
    identifier, answer = read_reply(raw)
    assert isinstance(identifier, str)
    assert not isinstance(answer, Exception) or isinstance(answer, LabError)


@given(st.binary())
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    read(raw.decode("utf-8", "surrogateescape"))


@given(JSON | fields)
@settings(max_examples=60, deadline=None)
def test_any_json_is_read_or_refused(value: Any) -> None:
    read(json.dumps(value))


@given(fields, st.integers(0, 300), st.text(max_size=3))
@settings(max_examples=60, deadline=None)
def test_a_damaged_petition_is_read_or_refused(value: Any, place: int, damage: str) -> None:
    raw = json.dumps(value, ensure_ascii=False)
    read(raw[:place] + damage + raw[place + len(damage) :])


@pytest.mark.parametrize("raw", each({name: (bomb,) for name, bomb in BOMBS.items()}))
def test_a_bomb_is_refused_quickly_and_takes_no_memory(raw: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with pytest.raises(InvalidRequest):
        read_petition(raw, Application.FILTER, KEYS)
    reply_to_of(raw, KEYS)
    spent = time.process_time() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"refused after {1000 * spent:.1f} ms of CPU time, memory +{grown:.1f} MB")
    assert spent < 2.0  # the figure is printed; this is a generous deadline
    assert grown <= 10.0
