"""Whatever is pushed to a Redis node's list gets a reply with its code, and the node goes on serving."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis

from lab.contract import Application
from lab.errors import Code
from lab.process.system import System
from tests.eventually import eventually
from tests.redis_impl.kinds import KINDS, REPLY_TO, UNANSWERABLE, adding, petition
from tests.wire import (
    ANSWER_SECONDS,
    BROKEN_RESULT,
    INSULT,
    assert_clear,
    assert_internal_error,
    assert_refused,
    assert_same_process,
    break_a_result,
    each,
    one_node,
)


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest) -> Iterator[System]:
    yield from one_node(request, "redis_impl", Application.SERVICE)


@pytest.fixture(scope="module")
def filters(request: pytest.FixtureRequest) -> Iterator[System]:
    yield from one_node(request, "redis_impl", Application.FILTER)


@pytest.fixture(scope="module")
def deferring(request: pytest.FixtureRequest) -> Iterator[System]:
    yield from one_node(request, "redis_impl", Application.FILTER, node_arguments=("--on-demand",))


@pytest.fixture
def store(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def push(store: "redis.Redis", cluster: System, raw: bytes) -> str:
    """Push a petition; return the name of the list for its reply."""
    reply_to = f"{cluster.namespace}:reply:{uuid4().hex}"
    store.rpush(f"{cluster.namespace}:{cluster.spec.application}", raw.replace(REPLY_TO, reply_to.encode()))
    return reply_to


def ask(store: "redis.Redis", cluster: System, raw: bytes) -> dict[str, Any]:
    """Push a petition and return the reply."""
    reply = store.blpop([push(store, cluster, raw)], timeout=ANSWER_SECONDS)
    assert reply, f"no reply to {raw[:200]!r}; {cluster.launcher.logs(cluster.nodes[0])[-2000:]}"
    return dict(json.loads(reply[1]))


def refusal(reply: dict[str, Any]) -> str:
    return f"{reply['error']}: {reply['message']}"


def assert_serves(store: "redis.Redis", cluster: System) -> None:
    """The node that works on one list in order has got past whatever came before."""
    if cluster.spec.application is Application.SERVICE:
        assert ask(store, cluster, adding(INSULT))["answer"] in (True, False)
    else:
        assert ask(store, cluster, adding(f"quin {INSULT}"))["answer"] == "quin CENSORED"
    assert_same_process(cluster)


@pytest.mark.parametrize(("raw", "code"), each(KINDS))
def test_a_bad_petition_gets_its_code_and_the_node_goes_on(
    node: System, store: "redis.Redis", raw: bytes, code: Code
) -> None:
    assert_refused(refusal(ask(store, node, raw)), code)
    assert_serves(store, node)


@pytest.mark.parametrize(("raw", "code"), each(UNANSWERABLE))
def test_a_bad_petition_that_cannot_be_answered_is_logged_and_the_node_goes_on(
    node: System, store: "redis.Redis", raw: bytes, code: Code
) -> None:
    before = len(node.launcher.logs(node.nodes[0]))
    push(store, node, raw)
    assert_serves(store, node)
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
    assert_serves(store, node)


def test_nothing_of_a_bad_petition_is_left_behind_at_its_node(node: System, store: "redis.Redis") -> None:
    for raw, _ in (*KINDS.values(), *UNANSWERABLE.values()):
        push(store, node, raw)
        assert_serves(store, node)
    eventually(lambda: not list(store.scan_iter(f"{node.namespace}:*:processing")))


def test_many_bad_petitions_at_once_harm_no_good_one(node: System, store: "redis.Redis") -> None:
    replies = [push(store, node, raw) for raw, _ in KINDS.values() for _ in range(3)]
    assert_serves(store, node)
    assert all(store.llen(reply_to) == 1 for reply_to in replies)


@pytest.mark.parametrize(
    ("text", "code"),
    each(
        {
            "a text too long": ("x" * (64 * 1024 + 1), Code.TOO_LARGE),
            "a number": (7, Code.WRONG_TYPE),
            "a lone surrogate": ("\udfff", Code.BAD_ENCODING),
        }
    ),
)
def test_a_bad_text_gets_its_code_and_the_filter_goes_on(
    filters: System, store: "redis.Redis", text: object, code: Code
) -> None:
    assert_refused(refusal(ask(store, filters, adding(text))), code)
    assert_serves(store, filters)


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


def test_a_failure_of_the_node_is_an_error_with_an_id_and_its_traceback_stays_in_the_log(
    filters: System, store: "redis.Redis", redis_url: str
) -> None:
    break_a_result(redis_url, filters)
    reply = ask(store, filters, petition("X3", petition_id=BROKEN_RESULT))
    assert_internal_error(filters, refusal(reply))
    assert_clear(reply["message"])
    assert_serves(store, filters)
